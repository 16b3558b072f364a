#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fmt/format.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>

#include <cerrno>
#include <optional>

#include "base/netlink.h"
#include "bpf/hook.h"
#include "bpf/system.h"

namespace fairlead::bpf {
namespace {

// Where a classifier of ours stands: of all classifiers on clsact, ours alone have these.
constexpr uint32_t kHandle = 0xfa1;
constexpr uint32_t kPriority = 64;

class Classifier final : public Hook {
 public:
  explicit Classifier(HookName name) : Hook(name) {}

  Result<uint32_t> program_id() const override {
    const LibbpfLog quiet;
    const bpf_tc_hook hook = place();
    LIBBPF_OPTS(bpf_tc_opts, options);
    options.handle = kHandle;
    options.priority = kPriority;
    const int error = -bpf_tc_query(&hook, &options);
    if (error != 0) return Status::from_errno(error, "look at", label());
    return options.prog_id;
  }

  Status exchange(int program) override { return put(program, BPF_TC_F_REPLACE); }

  Status detach() override {
    const LibbpfLog quiet;
    const bpf_tc_hook hook = place();
    LIBBPF_OPTS(bpf_tc_opts, options);
    options.handle = kHandle;
    options.priority = kPriority;
    const int error = -bpf_tc_detach(&hook, &options);
    if (error != 0 && error != ENOENT && error != EINVAL && error != ENODEV) {
      return Status::from_errno(error, "detach", label());
    }
    return {};
  }

  // clsact without any classifier, whoever made it.
  void remove_empty_place() const {
    const LibbpfLog quiet;
    if (has_classifiers() != false) return;
    bpf_tc_hook hook = place();
    hook.attach_point = static_cast<bpf_tc_attach_point>(BPF_TC_INGRESS | BPF_TC_EGRESS);
    bpf_tc_hook_destroy(&hook);
  }

  Status pin(const std::string&) override { return {}; }  // it stays by itself
  bool pinned() const override { return true; }

  Status attach(int program) {
    const LibbpfLog quiet;
    bpf_tc_hook hook = place();
    const int error = -bpf_tc_hook_create(&hook);
    if (error != 0 && error != EEXIST) return Status::from_errno(error, "add clsact for", label());
    return put(program, BPF_TC_F_REPLACE);
  }

  // nullopt when the kernel would not say.
  std::optional<bool> has_classifiers() const {
    Result<netlink::Socket> socket = netlink::Socket::open(NETLINK_ROUTE);
    if (!socket) return std::nullopt;
    bool any = false;
    for (const uint32_t side : {TC_H_MIN_INGRESS, TC_H_MIN_EGRESS}) {
      tcmsg head{};
      head.tcm_ifindex = static_cast<int>(name().device);
      head.tcm_parent = TC_H_MAKE(TC_H_CLSACT, side);
      netlink::MessageBuilder request(RTM_GETTFILTER, NLM_F_REQUEST | NLM_F_DUMP);
      const Status listed = socket->list(
          request.header(head),
          [&](const netlink::Message& message) { any |= message.type == RTM_NEWTFILTER; });
      if (!listed) return std::nullopt;
    }
    return any;
  }

 private:
  bpf_tc_hook place() const {
    LIBBPF_OPTS(bpf_tc_hook, hook);
    hook.ifindex = static_cast<int>(name().device);
    hook.attach_point = name().program == Program::kIngress ? BPF_TC_INGRESS : BPF_TC_EGRESS;
    return hook;
  }

  Status put(int program, uint32_t flags) {
    const LibbpfLog quiet;
    const bpf_tc_hook hook = place();
    LIBBPF_OPTS(bpf_tc_opts, options);
    options.handle = kHandle;
    options.priority = kPriority;
    options.prog_fd = program;
    options.flags = flags;
    const int error = -bpf_tc_attach(&hook, &options);
    return error == 0 ? Status() : Status::from_errno(error, "put a program into", label());
  }
};

bool is_ours(uint32_t program_id, Program program) {
  const Result<Fd> fd = program_of_id(program_id);
  if (!fd) return false;
  bpf_prog_info info{};
  uint32_t length = sizeof info;
  return bpf_obj_get_info_by_fd(fd->get(), &info, &length) == 0 && info.name[0] != 0 &&
         to_string(program).starts_with(info.name);
}

}  // namespace

Result<std::unique_ptr<Hook>> attach_tcx(Program program, int fd, uint32_t device) {
  Fd link(bpf_link_create(fd, static_cast<int>(device),
                          program == Program::kIngress ? kTcxIngress : kTcxEgress, nullptr));
  if (!link.valid()) return Status::from_errno(errno, "attach", to_string(program));
  return make_link_hook({program, device, {}}, std::move(link), {});
}

Result<std::unique_ptr<Hook>> attach_classifier(Program program, int fd, uint32_t device) {
  auto classifier = std::make_unique<Classifier>(HookName{program, device, {}});
  RETURN_IF_ERROR(classifier->attach(fd));
  return std::unique_ptr<Hook>(std::move(classifier));
}

void remove_empty_clsact(uint32_t device) {
  Classifier(HookName{Program::kIngress, device, {}}).remove_empty_place();
}

Result<std::vector<std::unique_ptr<Hook>>> find_classifiers() {
  auto socket = netlink::Socket::open(NETLINK_ROUTE);
  if (!socket) return socket.status();
  std::vector<uint32_t> devices;
  netlink::MessageBuilder request(RTM_GETQDISC, NLM_F_REQUEST | NLM_F_DUMP);
  RETURN_IF_ERROR(socket->list(request.header(tcmsg{}), [&](const netlink::Message& message) {
    netlink::Bytes payload = message.payload;
    const auto head = netlink::take_header<tcmsg>(payload);
    if (!head) return;
    netlink::for_each_attribute(payload, [&](const netlink::Attribute& attribute) {
      if (attribute.type == TCA_KIND && attribute.text() == "clsact") {
        devices.push_back(static_cast<uint32_t>(head->tcm_ifindex));
      }
    });
  }));
  std::vector<std::unique_ptr<Hook>> result;
  for (const uint32_t device : devices) {
    for (const Program program : {Program::kIngress, Program::kEgress}) {
      auto classifier = std::make_unique<Classifier>(HookName{program, device, {}});
      const Result<uint32_t> id = classifier->program_id();
      if (id && is_ours(*id, program)) result.push_back(std::move(classifier));
    }
  }
  return result;
}

}  // namespace fairlead::bpf
