// What every program uses: counters, the configuration, the clock, addresses.
#pragma once

#define FL_INLINE static __always_inline

// bpf.h's and the kernel's names that vmlinux.h does not carry (they are macros there).
#define TC_ACT_OK 0
#define TC_ACT_SHOT 2
#define TC_ACT_UNSPEC -1
#define TC_ACT_REDIRECT 7
#define ETH_P_IP 0x0800
#define ETH_P_IPV6 0x86DD
#define AF_INET 2
#define AF_INET6 10
#define EPERM 1
#define ECONNREFUSED 111

FL_INLINE void count(__u32 counter) {
  __u64* value = bpf_map_lookup_elem(&fl_counters, &counter);
  if (value) (*value)++;
}

FL_INLINE struct fl_config* configuration(void) {
  const __u32 zero = 0;
  return bpf_map_lookup_elem(&fl_config, &zero);
}

// Another mode is in charge: what begins now is translated by its rules.
FL_INLINE bool is_aside(void) {
  const struct fl_config* settings = configuration();
  return settings && settings->handover == FL_HANDOVER_ASIDE;
}

FL_INLINE __u32 now(void) {
  return (__u32)bpf_jiffies64();
}

FL_INLINE struct fl_addr from_v4(__be32 address) {
  const struct fl_addr wide = {.word = {0, 0, bpf_htonl(0xffff), address}};
  return wide;
}

FL_INLINE bool is_v4(const struct fl_addr* address) {
  return address->word[0] == 0 && address->word[1] == 0 && address->word[2] == bpf_htonl(0xffff);
}

FL_INLINE bool same_address(const struct fl_addr* a, const struct fl_addr* b) {
  return a->word[0] == b->word[0] && a->word[1] == b->word[1] && a->word[2] == b->word[2] &&
         a->word[3] == b->word[3];
}

FL_INLINE bool is_zero(const struct fl_addr* address) {
  return (address->word[0] | address->word[1] | address->word[2] | address->word[3]) == 0;
}

// A 32-bit finalizer (murmur3's): every input bit moves every output bit.
FL_INLINE __u32 mix(__u32 value) {
  value ^= value >> 16;
  value *= 0x85ebca6b;
  value ^= value >> 13;
  value *= 0xc2b2ae35;
  return value ^ value >> 16;
}

FL_INLINE __u32 hash_address(const struct fl_addr* address, __u32 seed) {
  return mix(address->word[3] ^
             mix(address->word[2] ^ address->word[1] * 31 ^ mix(address->word[0] ^ seed)));
}
