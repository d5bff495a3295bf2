/** RDP (MS-RDPBCGR). Being written. */

export {}
