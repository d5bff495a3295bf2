/** Queries to start from: each runs on any dataset, since every table of the rules exists from the start. */

export const EXAMPLES: { name: string; about: string; sql: string }[] = [
  {
    name: 'Top talkers',
    about: 'Bytes that each host sent and received.',
    sql: `SELECT src_ip, count(*) AS flows, sum(orig_bytes) AS sent, sum(resp_bytes) AS received
FROM conn
GROUP BY src_ip
ORDER BY sent DESC NULLS LAST
LIMIT 20`,
  },
  {
    name: 'Events over time',
    about: 'A count for each minute and log type.',
    sql: `SELECT date_trunc('minute', event_time) AS minute, log_type, count(*) AS events
FROM events
WHERE event_time IS NOT NULL
GROUP BY ALL
ORDER BY minute`,
  },
  {
    name: 'DNS names',
    about: 'What was asked for most, and by how many hosts.',
    sql: `SELECT query, count(*) AS questions, count(DISTINCT src_ip) AS hosts
FROM dns
WHERE query IS NOT NULL
GROUP BY query
ORDER BY questions DESC
LIMIT 50`,
  },
  {
    name: 'Names that failed',
    about: 'DNS questions without an answer, by name.',
    sql: `SELECT query, rcode_name, count(*) AS n
FROM dns
WHERE rcode_name <> 'NOERROR'
GROUP BY ALL
ORDER BY n DESC`,
  },
  {
    name: 'Services by bytes',
    about: 'Which services carry the traffic.',
    sql: `SELECT coalesce(service, 'unknown') AS service, protocol, count(*) AS flows, sum(coalesce(orig_bytes, 0) + coalesce(resp_bytes, 0)) AS bytes
FROM conn
GROUP BY ALL
ORDER BY bytes DESC`,
  },
  {
    name: 'HTTP requests',
    about: 'Hosts, paths and status codes, newest first.',
    sql: `SELECT event_time, src_ip, method, host, uri, status_code, user_agent
FROM http
ORDER BY event_time DESC
LIMIT 200`,
  },
  {
    name: 'TLS server names',
    about: 'Names in TLS hellos, with versions.',
    sql: `SELECT server_name, version, count(*) AS n
FROM ssl
GROUP BY ALL
ORDER BY n DESC`,
  },
  {
    name: 'Long connections',
    about: 'What was open longest.',
    sql: `SELECT event_time, src_ip, dst_ip, dst_port, service, duration, orig_bytes, resp_bytes
FROM conn
WHERE duration IS NOT NULL
ORDER BY duration DESC
LIMIT 50`,
  },
  {
    name: 'Ports that were tried',
    about: 'Hosts that tried many ports of another without an answer.',
    sql: `SELECT src_ip, dst_ip, count(DISTINCT dst_port) AS ports, min(event_time) AS first, max(event_time) AS last
FROM conn
WHERE conn_state IN ('S0', 'REJ')
GROUP BY ALL
HAVING ports >= 10
ORDER BY ports DESC`,
  },
  {
    name: 'Watched people',
    about: 'Traffic of watched employees, by protocol.',
    sql: `SELECT name, frame_protocols, count(*) AS n, sum(frame_len) AS bytes
FROM watched_traffic
GROUP BY ALL
ORDER BY n DESC`,
  },
]
