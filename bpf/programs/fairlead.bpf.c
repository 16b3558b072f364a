// The kernel side of the eBPF mode, one object: the socket, tc and XDP programs, the sweep of old
// flows, the adoption of another mode's and the walk over UDP sockets. docs/ebpf.md walks a packet through it.
#include "vmlinux.h"

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "bpf/layout.h"
#include "bpf/programs/maps.bpf.h"
#include "bpf/programs/common.bpf.h"
#include "bpf/programs/select.bpf.h"
#include "bpf/programs/parse.bpf.h"
#include "bpf/programs/fragment.bpf.h"
#include "bpf/programs/flow.bpf.h"
#include "bpf/programs/route.bpf.h"
#include "bpf/programs/begin.bpf.h"
#include "bpf/programs/decide.bpf.h"
#include "bpf/programs/way.bpf.h"
#include "bpf/programs/sctp.bpf.h"
#include "bpf/programs/rewrite.bpf.h"
#include "bpf/programs/refuse.bpf.h"
#include "bpf/programs/icmp.bpf.h"
#include "bpf/programs/tc.bpf.h"
#include "bpf/programs/xdp.bpf.h"
#include "bpf/programs/dsr.bpf.h"
#include "bpf/programs/dsr_receive.bpf.h"
#include "bpf/programs/socket.bpf.h"
#include "bpf/programs/sweep.bpf.h"
#include "bpf/programs/adopt.bpf.h"
#include "bpf/programs/udp_sockets.bpf.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";
