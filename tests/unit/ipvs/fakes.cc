#include "fakes.h"

#include <cerrno>
#include <sstream>

#include "ipvs/rules.h"

namespace fairlead::ipvs::testing {
namespace {

using dataplane::Address;
using dataplane::Family;

bool counts_down(int& counter) {
  return counter > 0 && --counter == 0;
}

class FakeServers final : public VirtualServers {
 public:
  explicit FakeServers(Host& host) : host_(host) {}

  Result<std::vector<Failure>> apply(std::span<const Operation> operations) override {
    ++host_.batches;
    if (counts_down(host_.fail_netlink)) return Status::from_errno(ENOBUFS, "send to", "IPVS");
    std::vector<Failure> failures;
    for (size_t i = 0; i < operations.size(); ++i) {
      const int error = run(operations[i]);
      if (error != 0) {
        failures.push_back({i, refusal_of(operations[i], error)});
      }
    }
    return failures;
  }
  Result<std::vector<ListedServer>> servers() override {
    std::vector<ListedServer> listed;
    for (const auto& [key, server] : host_.servers) listed.push_back({key, server.settings});
    return listed;
  }
  Result<std::vector<ListedDestination>> destinations(const ServerKey& key) override {
    std::vector<ListedDestination> listed;
    for (const auto& [address, destination] : host_.servers[key].destinations) {
      listed.push_back(destination);
    }
    return listed;
  }
  Status set_timeouts(const Timeouts& timeouts) override {
    host_.timeouts = timeouts;
    return {};
  }

 private:
  // As net/netfilter/ipvs/ip_vs_ctl.c answers.
  int run(const Operation& operation) {
    using Kind = Operation::Kind;
    if (host_.no_ip6_servers && operation.server.family == Family::kIPv6) return EAFNOSUPPORT;
    const std::string& refused = host_.refuse_operation;
    if (!refused.empty() && operation.to_string().find(refused) != std::string::npos) return ENOMEM;
    const auto server = host_.servers.find(operation.server);
    if (operation.kind == Kind::kAddServer) {
      if (!host_.schedulers.contains(operation.settings.scheduler)) return ENOENT;
      if (server != host_.servers.end()) return EEXIST;
      host_.servers[operation.server].settings = operation.settings;
      return 0;
    }
    if (server == host_.servers.end()) return ESRCH;
    auto& destinations = server->second.destinations;
    const auto& address = operation.destination.address;
    switch (operation.kind) {
      case Kind::kChangeServer:
        if (!host_.schedulers.contains(operation.settings.scheduler)) return ENOENT;
        server->second.settings = operation.settings;
        return 0;
      case Kind::kRemoveServer:
        host_.servers.erase(server);
        return 0;
      case Kind::kAddDestination:
        return destinations.try_emplace(address, ListedDestination{operation.destination}).second
                   ? 0
                   : EEXIST;
      case Kind::kChangeDestination:
        if (!destinations.contains(address)) return ENOENT;
        destinations[address].destination = operation.destination;
        return 0;
      case Kind::kRemoveDestination:
        return destinations.erase(address) != 0 ? 0 : ENOENT;
      case Kind::kAddServer:
        break;
    }
    return EINVAL;
  }

  Host& host_;
};

class FakeSets final : public Sets {
 public:
  explicit FakeSets(Host& host) : host_(host) {}

  Result<std::optional<SetHeader>> header(const SetSpec& spec) override {
    const auto set = host_.sets.find(spec.name);
    if (set == host_.sets.end()) return std::optional<SetHeader>();
    return std::optional<SetHeader>({static_cast<uint32_t>(set->second.elements.size()),
                                     set->second.room, set->second.spec.type == spec.type});
  }
  Status create(const SetSpec& spec, uint32_t room) override {
    if (host_.no_ip6_sets && spec.family == Family::kIPv6) {
      return Status::error(StatusCode::kInternal, "create", "IP set " + spec.name,
                           "Kernel error received: Invalid argument");
    }
    host_.sets[spec.name] = {spec, room, {}};
    return {};
  }
  Status destroy(const std::string& name) override {
    return host_.sets.erase(name) != 0 ? Status() : missing(name);
  }
  Status swap(const std::string& a, const std::string& b) override {
    if (!host_.sets.contains(a) || !host_.sets.contains(b)) return missing(a);
    std::swap(host_.sets[a].elements, host_.sets[b].elements);
    std::swap(host_.sets[a].room, host_.sets[b].room);
    return {};
  }
  Result<std::vector<SetElement>> elements(const SetSpec& spec) override {
    const auto set = host_.sets.find(spec.name);
    if (set == host_.sets.end()) return missing(spec.name);
    return std::vector<SetElement>(set->second.elements.begin(), set->second.elements.end());
  }
  Status add(const SetSpec& spec, std::span<const SetElement> elements) override {
    const auto set = host_.sets.find(spec.name);
    if (set == host_.sets.end()) return missing(spec.name);
    for (const SetElement& element : elements) {
      if (!host_.refuse_element.empty() &&
          to_string(element, spec.type).find(host_.refuse_element) != std::string::npos) {
        return Status::error(StatusCode::kInvalid, "add to", spec.name, "refused");
      }
      if (set->second.elements.size() >= set->second.room &&
          !set->second.elements.contains(element)) {
        return Status::error(StatusCode::kExhausted, "add to", spec.name, "Hash is full");
      }
      set->second.elements.insert(element);
    }
    return {};
  }
  Status remove(const SetSpec& spec, std::span<const SetElement> elements) override {
    const auto set = host_.sets.find(spec.name);
    if (set == host_.sets.end()) return missing(spec.name);
    for (const SetElement& element : elements) {
      std::erase_if(set->second.elements, [&](SetElement each) {
        each.mark = element.mark;
        return each == element;
      });
    }
    return {};
  }

 private:
  static Status missing(const std::string& name) {
    return Status::error(StatusCode::kNotFound, "use", name, "does not exist");
  }

  Host& host_;
};

class FakeDevice final : public VirtualDevice {
 public:
  explicit FakeDevice(Host& host) : host_(host) {}

  Result<bool> exists() override { return host_.device; }
  Status create() override {
    host_.device = true;
    return {};
  }
  Status remove() override {
    host_.device = false;
    host_.on_device.clear();
    return {};
  }
  Result<std::vector<Held>> addresses() override {
    std::vector<Held> held;
    for (const Address& address : host_.on_device) held.push_back({address, true});
    for (const Address& address : host_.elsewhere) held.push_back({address, false});
    return held;
  }
  Result<std::vector<Failure>> change(std::span<const Address> removed,
                                      std::span<const Address> added) override {
    for (const Address& address : removed) host_.on_device.erase(address);
    host_.on_device.insert(added.begin(), added.end());
    return std::vector<Failure>();
  }
  int fd() const override { return -1; }
  Result<News> news() override { return News(); }

 private:
  Host& host_;
};

class FakeSettings final : public KernelSettings {
 public:
  explicit FakeSettings(Host& host) : host_(host) {}

  std::optional<std::string> get(std::string_view key) override {
    const auto found = host_.settings.find(std::string(key));
    return found == host_.settings.end() ? std::optional<std::string>() : found->second;
  }
  Status set(std::string_view key, std::string_view value) override {
    host_.settings[std::string(key)] = value;
    return {};
  }
  std::string kernel_release() override { return host_.settings["release"]; }

 private:
  Host& host_;
};

// Takes what install_text() and removal_text() write: chains emptied, rules appended, inserted,
// deleted.
class FakeTool final : public iptables::Tool {
 public:
  FakeTool(Host& host, std::string variant) : host_(host), variant_(std::move(variant)) {}

  iptables::Variant variant() const override { return iptables::Variant::kLegacy; }
  Result<std::string> save(Family family, std::string_view table) override {
    ++host_.saves[key(family, table)];
    if (key(family, table) == host_.unreadable) {
      return Status::error(StatusCode::kUnsupported, "read rules by", "iptables-save",
                           "table " + std::string(table) + " has rules that it cannot show");
    }
    return host_.rules[key(family, table)];
  }
  Status restore(Family family, std::string_view input) override {
    if (host_.no_ip6tables && family == Family::kIPv6) {
      return Status::from_errno(ENOENT, "run", "ip6tables-legacy-restore");
    }
    ++host_.restores;
    if (counts_down(host_.fail_restore)) {
      return Status::error(StatusCode::kUnavailable, "restore", "iptables", "locked");
    }
    ++host_.stamp;
    std::istringstream lines{std::string(input)};
    std::string* table = nullptr;
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("*")) table = &host_.rules[key(family, line.substr(1))];
      if (table == nullptr || line == "COMMIT") continue;
      if (line.starts_with(":")) {
        const std::string chain = line.substr(1, line.find(' ') - 1);
        remove_lines(*table, "-A " + chain + " ");
        if (table->find("\n" + line) == std::string::npos) *table += "\n" + line + "\n";
      } else if (line.starts_with("-A ")) {
        *table += line + "\n";
      } else if (line.starts_with("-I ")) {
        const size_t place = line.find(" 1 ");
        *table += "-A " + line.substr(3, place - 3) + " " + line.substr(place + 3) + "\n";
      } else if (line.starts_with("-D ")) {
        remove_lines(*table, "-A " + line.substr(3));
      } else if (line.starts_with("-X ")) {
        remove_lines(*table, ":" + line.substr(3) + " ");
      }
    }
    return {};
  }
  Result<std::string> list_chain(Family, std::string_view, std::string_view) override {
    return std::string();
  }
  Result<bool> has_chain(Family family, std::string_view table, std::string_view chain) override {
    return ipvs::has_chain(host_.rules[key(family, table)], chain);
  }
  Result<uint64_t> stamp(Family, std::string_view) override { return host_.stamp; }

 private:
  std::string key(Family family, std::string_view table) const {
    return variant_ + (family == Family::kIPv4 ? "v4 " : "v6 ") + std::string(table);
  }
  // Lines that begin so.
  static void remove_lines(std::string& text, const std::string& beginning) {
    std::istringstream lines(text);
    std::string kept;
    for (std::string line; std::getline(lines, line);) {
      if (!line.starts_with(beginning)) kept += line + "\n";
    }
    text = kept;
  }

  Host& host_;
  const std::string variant_;  // of keys
};

}  // namespace

std::string Host::describe() const {
  std::ostringstream out;
  for (const auto& [key, server] : servers) {
    out << key.to_string() << " " << server.settings.scheduler;
    if ((server.settings.flags & kPersistent) != 0) {
      out << " persistent " << server.settings.persistence_seconds;
    }
    out << " ->";
    for (const auto& [address, listed] : server.destinations) {
      out << " " << address.to_string() << "*" << listed.destination.weight;
    }
    out << "\n";
  }
  return out.str();
}

std::string Host::elements(const std::string& set) const {
  std::string text;
  const auto found = sets.find(set);
  if (found == sets.end()) return "no such set";
  for (const SetElement& element : found->second.elements) {
    text += (text.empty() ? "" : " ") + to_string(element, found->second.spec.type);
  }
  return text;
}

OwnedSeams seams_of(Host& host) {
  return {std::make_unique<FakeServers>(host),
          std::make_unique<FakeSets>(host),
          std::make_unique<FakeDevice>(host),
          std::make_unique<FakeSettings>(host),
          std::make_unique<FakeTool>(host, ""),
          {},
          host.route_localnet};
}

std::unique_ptr<iptables::Tool> other_tool_of(Host& host) {
  return std::make_unique<FakeTool>(host, "other ");
}

}  // namespace fairlead::ipvs::testing
