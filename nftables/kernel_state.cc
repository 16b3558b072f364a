#include "nftables/kernel_state.h"

#include <endian.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netlink.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "nftables/program.h"

namespace fairlead::nftables {
namespace {

// The comment among nft's userdata records: type 0, a length, the text with its zero byte.
std::string comment_of(ByteView userdata) {
  while (userdata.size() >= 2) {
    const size_t length = userdata[1];
    if (userdata.size() < 2 + length) break;
    if (userdata[0] == 0) return std::string(read_string(userdata.subspan(2, length)));
    userdata = userdata.subspan(2 + length);
  }
  return {};
}

template <typename Array>
bool copy_bytes(ByteView from, Array& to, uint8_t& size) {
  if (from.size() > to.size()) return false;
  std::copy(from.begin(), from.end(), to.begin());
  size = static_cast<uint8_t>(from.size());
  return true;
}

}  // namespace

Status KernelState::dump(uint16_t message, bool all,
                         const std::function<void(MessageWriter&)>& attributes,
                         const std::function<void(ByteView)>& each) {
  MessageWriter request;
  request.begin(message, all ? NLM_F_DUMP : 0, netfilter_family(family_));
  attributes(request);
  request.end();
  return transport_.dump(request.bytes(), each);
}

Result<uint32_t> KernelState::generation() {
  uint32_t generation = 0;
  RETURN_IF_ERROR(dump(
      NFT_MSG_GETGEN, false, [](MessageWriter&) {},
      [&](ByteView answer) { generation = read_u32(find_attribute(answer, NFTA_GEN_ID)); }));
  return generation;
}

Result<bool> KernelState::table_exists() {
  bool exists = false;
  const Status status = dump(
      NFT_MSG_GETTABLE, false, [](MessageWriter& out) { out.string(NFTA_TABLE_NAME, kTable); },
      [&](ByteView) { exists = true; });
  if (!status && status.system_errno() != ENOENT) return status;
  return exists;
}

Result<std::vector<std::string>> KernelState::sets() {
  std::vector<std::string> names;
  RETURN_IF_ERROR(dump(
      NFT_MSG_GETSET, true, [](MessageWriter& out) { out.string(NFTA_SET_TABLE, kTable); },
      [&](ByteView set) { names.emplace_back(read_string(find_attribute(set, NFTA_SET_NAME))); }));
  return names;
}

Result<std::map<std::string, std::vector<std::string>>> KernelState::chains() {
  std::map<std::string, std::vector<std::string>> chains;
  // Chains cannot be asked for by table.
  RETURN_IF_ERROR(dump(
      NFT_MSG_GETCHAIN, true, [](MessageWriter&) {},
      [&](ByteView chain) {
        if (read_string(find_attribute(chain, NFTA_CHAIN_TABLE)) == kTable) {
          chains[std::string(read_string(find_attribute(chain, NFTA_CHAIN_NAME)))];
        }
      }));
  RETURN_IF_ERROR(dump(
      NFT_MSG_GETRULE, true, [](MessageWriter& out) { out.string(NFTA_RULE_TABLE, kTable); },
      [&](ByteView rule) {
        if (read_string(find_attribute(rule, NFTA_RULE_TABLE)) != kTable) return;
        const std::string chain(read_string(find_attribute(rule, NFTA_RULE_CHAIN)));
        chains[chain].push_back(comment_of(find_attribute(rule, NFTA_RULE_USERDATA)));
      }));
  return chains;
}

Status KernelState::dump_elements(SetNumber set, const std::function<void(ByteView)>& each) {
  const std::string name = describe_set(set, family_).name;
  return dump(
      NFT_MSG_GETSETELEM, true,
      [&](MessageWriter& out) {
        out.string(NFTA_SET_ELEM_LIST_TABLE, kTable);
        out.string(NFTA_SET_ELEM_LIST_SET, name);
      },
      [&](ByteView answer) {
        for_each_attribute(find_attribute(answer, NFTA_SET_ELEM_LIST_ELEMENTS),
                           [&](uint16_t type, ByteView element) {
                             if (type == NFTA_LIST_ELEM) each(element);
                           });
      });
}

Result<std::vector<Element>> KernelState::elements(SetNumber set) {
  std::vector<Element> elements;
  RETURN_IF_ERROR(dump_elements(set, [&](ByteView raw) {
    Element element;
    element.set = set;
    bool interval_end = false;
    for_each_attribute(raw, [&](uint16_t type, ByteView value) {
      if (type == NFTA_SET_ELEM_KEY) {
        copy_bytes(find_attribute(value, NFTA_DATA_VALUE), element.key, element.key_size);
      } else if (type == NFTA_SET_ELEM_DATA) {
        copy_bytes(find_attribute(value, NFTA_DATA_VALUE), element.data, element.data_size);
      } else if (type == NFTA_SET_ELEM_FLAGS) {
        interval_end = (read_u32(value) & NFT_SET_ELEM_INTERVAL_END) != 0;
      }
    });
    if (!interval_end) elements.push_back(element);
  }));
  return elements;
}

Result<std::map<uint32_t, std::string>> KernelState::verdicts(SetId map) {
  std::map<uint32_t, std::string> verdicts;
  RETURN_IF_ERROR(dump_elements(number_of(map), [&](ByteView element) {
    const ByteView key =
        find_attribute(find_attribute(element, NFTA_SET_ELEM_KEY), NFTA_DATA_VALUE);
    const ByteView verdict =
        find_attribute(find_attribute(element, NFTA_SET_ELEM_DATA), NFTA_DATA_VERDICT);
    verdicts[read_number(key)] = read_string(find_attribute(verdict, NFTA_VERDICT_CHAIN));
  }));
  return verdicts;
}

Result<std::map<std::string, uint64_t>> KernelState::counters() {
  std::map<std::string, uint64_t> counters;
  RETURN_IF_ERROR(dump(
      NFT_MSG_GETOBJ, true,
      [](MessageWriter& out) {
        out.string(NFTA_OBJ_TABLE, kTable);
        out.u32(NFTA_OBJ_TYPE, NFT_OBJECT_COUNTER);
      },
      [&](ByteView object) {
        if (read_string(find_attribute(object, NFTA_OBJ_TABLE)) != kTable) return;
        const ByteView packets =
            find_attribute(find_attribute(object, NFTA_OBJ_DATA), NFTA_COUNTER_PACKETS);
        uint64_t big = 0;
        if (packets.size() >= sizeof big) std::memcpy(&big, packets.data(), sizeof big);
        counters[std::string(read_string(find_attribute(object, NFTA_OBJ_NAME)))] = be64toh(big);
      }));
  return counters;
}

}  // namespace fairlead::nftables
