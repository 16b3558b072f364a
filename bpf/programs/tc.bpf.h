#pragma once

SEC("tc") int fl_ingress(struct __sk_buff* skb) {
  struct fl_frontend_key key = {};
  struct fl_config* c = configuration();
  if (!c) return TC_ACT_OK;
  struct fl_frontend* f = find_frontend(&key.address, 0, 6);
  struct fl_selection s = {};
  if (f) select_endpoint(c, f, 0, &key.address, bpf_get_prandom_u32(), &s);
  return TC_ACT_OK;
}
