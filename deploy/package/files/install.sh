#!/bin/sh
# Installs the bundle, or puts this version in the place of another: sh install.sh (as root).
# Settings and data that are there already stay. /usr/lib/pcap-pipeline/uninstall takes it away again.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
home=/usr/lib/pcap-pipeline
settings=/etc/pcap-pipeline/pcap-pipeline.env
user=pcap-pipeline

say() { echo "install.sh: $*"; }
fail() {
  echo "install.sh: $*" >&2
  exit 1
}
has_systemd() { [ -d /run/systemd/system ]; }

[ "$(id -u)" = 0 ] || fail 'this needs root'
if [ -e /var/lib/dpkg/info/pcap-pipeline.list ]; then fail 'pcap-pipeline is installed as a .deb: upgrade that'; fi
(cd "$here" && sha256sum --check --quiet --strict checksums.sha256) || fail 'the bundle is not whole; copy it again'
"$here/root$home/bin/node" --version > /dev/null || fail 'the Node of this bundle does not run here (it needs glibc 2.34, and the right processor)'

if ! getent passwd "$user" > /dev/null; then
  getent group "$user" > /dev/null || groupadd --system "$user"
  useradd --system --gid "$user" --home-dir /var/lib/pcap-pipeline --no-create-home --shell /usr/sbin/nologin "$user"
fi
[ -d /var/lib/pcap-pipeline ] || install -d -m 2770 -o "$user" -g "$user" /var/lib/pcap-pipeline

first=yes
[ ! -e $home ] || first=no
rm -rf $home.new
mkdir -p /usr/lib /usr/bin /usr/share /usr/lib/systemd/system
cp -R "$here/root$home" $home.new
# Of another version no file stays behind.
rm -rf $home.old
[ ! -e $home ] || mv $home $home.old
mv $home.new $home
rm -rf $home.old
cp -R "$here/root/usr/bin/." /usr/bin/
rm -rf /usr/share/doc/pcap-pipeline /usr/share/pcap-pipeline
cp -R "$here/root/usr/share/." /usr/share/
cp "$here/LICENSE" /usr/share/doc/pcap-pipeline/LICENSE
rm -rf /usr/lib/systemd/system/pcap-pipeline*
cp -R "$here/root/usr/lib/systemd/system/." /usr/lib/systemd/system/

if ! command -v perl > /dev/null; then
  say 'there is no perl here: the service tells systemd neither that it is ready nor that it is alive'
  for unit in pcap-pipeline.service pcap-pipeline@.service pcap-pipeline@pages.service; do
    mkdir -p "/usr/lib/systemd/system/$unit.d"
    case $unit in
    pcap-pipeline.service) command='run' ;;
    pcap-pipeline@.service) command='stage %i' ;;
    *) command='serve' ;;
    esac
    printf '[Service]\nType=exec\nWatchdogSec=0\nExecStart=\nExecStart=/usr/bin/pcap-pipeline %s\n' "$command" \
      > "/usr/lib/systemd/system/$unit.d/20-no-perl.conf"
  done
fi

install -d -m 0755 /etc/pcap-pipeline
if [ ! -e $settings ]; then
  install -m 0640 -o root -g "$user" "$here/root$settings" $settings
elif ! cmp -s "$here/root$settings" $settings; then
  install -m 0640 -o root -g "$user" "$here/root$settings" $settings.new
  say "the settings stay as they are; those of this version are in $settings.new"
fi

if command -v tshark > /dev/null || command -v zeek > /dev/null; then :; else
  say 'there is neither tshark nor Zeek here: all works but the packet log and the layers of a packet'
fi
if has_systemd; then
  systemctl daemon-reload
  if [ $first = yes ]; then systemctl enable --quiet --now pcap-pipeline.service; else
    systemctl try-restart pcap-pipeline.service pcap-pipeline.target
  fi
  say 'installed; systemctl status pcap-pipeline tells how it is'
else
  say 'installed; no systemd runs here: start it by  pcap-pipeline run'
fi
