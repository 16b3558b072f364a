// SCTP's checksum after a change of ports: a CRC32c over the whole packet, which must not be read
// again for that.
//
// CRC32c is linear: the CRC changes by the CRC (without its start and end values) of what changed,
// and bytes of zero behind that change only multiply it by a power of x. The ports are the first
// four bytes, so the change is (before ^ after) * x^(8 * length), in polynomials modulo the CRC's
// own.
//
// No kernel types here: user space compiles it too, to hold it against a CRC taken bit by bit.
#pragma once

#include "bpf/layout.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "CRC32c and ports are read as they stand in the packet, on a little-endian machine"
#endif

// What a sender leaves in the field for a device that computes checksums (sctp_packet_pack() of the
// kernel). Of the finished ones, one in 2^32 is taken for such.
#define FL_SCTP_UNFINISHED 0

#define FL_CRC32C 0x82f63b78U  // the polynomial, x^31 in the lowest bit

// The product of two polynomials. Not static: the verifier then walks it once, whatever the
// callers.
__attribute__((noinline)) fl_u32 sctp_multiply(fl_u32 a, fl_u32 b) {
  fl_u32 product = 0;
  for (int bit = 31; bit >= 0; --bit) {
    product ^= b & -(a >> bit & 1);
    b = b >> 1 ^ (FL_CRC32C & -(b & 1));
  }
  return product;
}

// The checksum field of a packet of `bytes` (from the SCTP header on, below 65,536) whose field was
// `old` when its two ports, as they stand in the header, were `ports_before`.
// Inline, since a frame of its own would be one too many for the stack of some chains of calls.
static inline __attribute__((always_inline)) fl_u32 sctp_crc_change(fl_u32 old,
                                                                    fl_be32 ports_before,
                                                                    fl_be32 ports_after,
                                                                    fl_u32 bytes) {
  fl_u32 crc = ports_before ^ ports_after;
  // x^8, x^16, x^32 ...: bytes of zero by powers of two.
  if (bytes & 1U << 0) crc = sctp_multiply(crc, 0x00800000);
  if (bytes & 1U << 1) crc = sctp_multiply(crc, 0x00008000);
  if (bytes & 1U << 2) crc = sctp_multiply(crc, 0x82f63b78);
  if (bytes & 1U << 3) crc = sctp_multiply(crc, 0x6ea2d55c);
  if (bytes & 1U << 4) crc = sctp_multiply(crc, 0x18b8ea18);
  if (bytes & 1U << 5) crc = sctp_multiply(crc, 0x510ac59a);
  if (bytes & 1U << 6) crc = sctp_multiply(crc, 0xb82be955);
  if (bytes & 1U << 7) crc = sctp_multiply(crc, 0xb8fdb1e7);
  if (bytes & 1U << 8) crc = sctp_multiply(crc, 0x88e56f72);
  if (bytes & 1U << 9) crc = sctp_multiply(crc, 0x74c360a4);
  if (bytes & 1U << 10) crc = sctp_multiply(crc, 0xe4172b16);
  if (bytes & 1U << 11) crc = sctp_multiply(crc, 0x0d65762a);
  if (bytes & 1U << 12) crc = sctp_multiply(crc, 0x35d73a62);
  if (bytes & 1U << 13) crc = sctp_multiply(crc, 0x28461564);
  if (bytes & 1U << 14) crc = sctp_multiply(crc, 0xbf455269);
  if (bytes & 1U << 15) crc = sctp_multiply(crc, 0xe2ea32dc);
  return old ^ crc;
}
