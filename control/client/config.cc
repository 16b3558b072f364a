#include "control/client/config.h"

#include <fmt/format.h>
#include <simdjson.h>

#include <array>
#include <optional>
#include <utility>

#include "control/api/base64.h"
#include "control/api/yaml.h"
#include "control/client/kubeconfig.h"

namespace fairlead::client {

namespace {

namespace dom = simdjson::dom;

constexpr std::string_view kOperation = "load kubeconfig";

// The parts of a kubeconfig that one context names, and how to complain about them.
class Loader {
 public:
  Loader(const std::string& path, const FileReader& read_file)
      : path_(path), folder_(path.substr(0, path.rfind('/') + 1)), read_file_(read_file) {}

  Result<ClientConfig> load(dom::object root, std::string_view wanted) {
    RETURN_IF_ERROR(choose_context(root, wanted));
    ASSIGN_OR_RETURN(const dom::object context, entry(root, "contexts", "context", context_));
    ASSIGN_OR_RETURN(const std::string cluster_name, text(context, context_field(), "cluster"));
    ASSIGN_OR_RETURN(const std::string user_name, text(context, context_field(), "user"));
    if (cluster_name.empty()) return invalid(context_field() + ".cluster", "is missing");
    ASSIGN_OR_RETURN(const dom::object cluster, entry(root, "clusters", "cluster", cluster_name));
    RETURN_IF_ERROR(read_cluster(cluster, named("clusters", cluster_name) + ".cluster"));
    // A context without user is somebody anonymous.
    if (!user_name.empty()) {
      ASSIGN_OR_RETURN(const dom::object user, entry(root, "users", "user", user_name));
      RETURN_IF_ERROR(read_user(user, named("users", user_name) + ".user"));
    }
    return std::move(config_);
  }

 private:
  static std::string named(std::string_view list, std::string_view name) {
    return fmt::format("{}[{}]", list, name);
  }
  std::string context_field() const { return named("contexts", context_) + ".context"; }

  Status invalid(std::string_view field, std::string_view reason) const {
    std::string object = path_;
    if (!context_.empty()) object += fmt::format(" (context {})", context_);
    return Status::error(StatusCode::kInvalid, kOperation, object,
                         fmt::format("{}: {}", field, reason));
  }

  // Absent and null alike are nothing.
  static std::optional<dom::element> find(dom::object object, std::string_view key) {
    dom::element element;
    if (object.at_key(key).get(element) != simdjson::SUCCESS || element.is_null())
      return std::nullopt;
    return element;
  }

  // Empty when absent.
  Result<std::string> text(dom::object object, const std::string& where,
                           std::string_view key) const {
    const std::optional<dom::element> element = find(object, key);
    if (!element) return std::string();
    std::string_view view;
    if (element->get_string().get(view) != simdjson::SUCCESS) {
      return invalid(fmt::format("{}.{}", where, key), "is not a string");
    }
    return std::string(view);
  }

  Result<bool> flag(dom::object object, const std::string& where, std::string_view key) const {
    const std::optional<dom::element> element = find(object, key);
    bool value = false;
    if (element && element->get_bool().get(value) != simdjson::SUCCESS) {
      return invalid(fmt::format("{}.{}", where, key), "is not a boolean");
    }
    return value;
  }

  Status choose_context(dom::object root, std::string_view wanted) {
    context_ = wanted;
    if (!context_.empty()) return {};
    ASSIGN_OR_RETURN(std::string current, text(root, "kubeconfig", "current-context"));
    if (current.empty())
      return invalid("current-context", "is not set, and no context was asked for");
    context_ = std::move(current);
    return {};
  }

  // The object under `inner` of the element of `list` that is called `name`.
  Result<dom::object> entry(dom::object root, std::string_view list, std::string_view inner,
                            std::string_view name) const {
    const std::optional<dom::element> found = find(root, list);
    dom::array elements;
    if (!found) return missing(list, name);
    if (found->get_array().get(elements) != simdjson::SUCCESS)
      return invalid(list, "is not a list");
    for (const dom::element element : elements) {
      dom::object object;
      std::string_view candidate;
      if (element.get_object().get(object) != simdjson::SUCCESS ||
          object.at_key("name").get_string().get(candidate) != simdjson::SUCCESS ||
          candidate != name) {
        continue;
      }
      dom::object result;
      if (object.at_key(inner).get_object().get(result) != simdjson::SUCCESS) {
        return invalid(fmt::format("{}.{}", named(list, name), inner), "is missing or no object");
      }
      return result;
    }
    return missing(list, name);
  }

  Status missing(std::string_view list, std::string_view name) const {
    return Status::error(StatusCode::kNotFound, kOperation, path_,
                         fmt::format("{}: there is none called \"{}\"", list, name));
  }

  std::string resolve(const std::string& file) const {
    return file.empty() || file.front() == '/' ? file : folder_ + file;
  }

  // `key`-data (base64) or the file named by `key`; the data wins.
  Result<std::string> blob(dom::object object, const std::string& where,
                           const std::string& key) const {
    ASSIGN_OR_RETURN(const std::string data, text(object, where, key + "-data"));
    if (!data.empty()) {
      std::optional<std::string> bytes = api::decode_base64(data);
      if (!bytes) return invalid(fmt::format("{}.{}-data", where, key), "is not base64");
      return std::move(*bytes);
    }
    ASSIGN_OR_RETURN(const std::string file, text(object, where, key));
    if (file.empty()) return std::string();
    Result<std::string> content = read_file_(resolve(file));
    if (!content.ok()) return invalid(fmt::format("{}.{}", where, key), content.status().message());
    return content;
  }

  Result<std::string> pem(dom::object object, const std::string& where, const std::string& key,
                          std::string_view label) const {
    ASSIGN_OR_RETURN(std::string content, blob(object, where, key));
    if (content.empty()) return content;
    if (const Status status = check_pem(content, label, key); !status) {
      return invalid(fmt::format("{}.{}", where, key), status.detail());
    }
    return content;
  }

  Status read_cluster(dom::object cluster, const std::string& where) {
    ASSIGN_OR_RETURN(const std::string server, text(cluster, where, "server"));
    if (server.empty()) return invalid(where + ".server", "is missing");
    Result<std::string> checked = check_server(server, where);
    if (!checked.ok()) return invalid(where + ".server", checked.status().detail());
    config_.server = std::move(checked).value();
    ASSIGN_OR_RETURN(config_.tls_server_name, text(cluster, where, "tls-server-name"));
    ASSIGN_OR_RETURN(config_.insecure_skip_tls_verify,
                     flag(cluster, where, "insecure-skip-tls-verify"));
    ASSIGN_OR_RETURN(config_.ca_pem, pem(cluster, where, "certificate-authority", "CERTIFICATE"));
    if (config_.insecure_skip_tls_verify && !config_.ca_pem.empty()) {
      return invalid(where + ".insecure-skip-tls-verify",
                     "contradicts the certificate authority that is given as well");
    }
    return read_proxy(cluster, where);
  }

  Status read_proxy(dom::object cluster, const std::string& where) {
    ASSIGN_OR_RETURN(config_.proxy_url, text(cluster, where, "proxy-url"));
    if (config_.proxy_url.empty()) return {};
    for (const std::string_view scheme : {"http://", "https://", "socks5://"}) {
      if (std::string_view(config_.proxy_url).starts_with(scheme)) return {};
    }
    return invalid(where + ".proxy-url", "must start with http://, https:// or socks5://");
  }

  Status read_user(dom::object user, const std::string& where) {
    constexpr std::array<std::string_view, 6> kRefused = {
        "exec", "auth-provider", "as", "as-groups", "as-uid", "as-user-extra"};
    for (const std::string_view key : kRefused) {
      if (find(user, key)) {
        return Status::error(
            StatusCode::kUnsupported, kOperation, fmt::format("{} (context {})", path_, context_),
            fmt::format("{}.{}: is not supported; use a certificate or a token", where, key));
      }
    }
    ASSIGN_OR_RETURN(config_.client_certificate_pem,
                     pem(user, where, "client-certificate", "CERTIFICATE"));
    ASSIGN_OR_RETURN(config_.client_key_pem, pem(user, where, "client-key", "PRIVATE KEY"));
    if (config_.client_certificate_pem.empty() != config_.client_key_pem.empty()) {
      return invalid(where, "client-certificate and client-key must come together");
    }
    ASSIGN_OR_RETURN(config_.token, text(user, where, "token"));
    ASSIGN_OR_RETURN(const std::string token_file, text(user, where, "tokenFile"));
    config_.token_file = resolve(token_file);
    ASSIGN_OR_RETURN(config_.username, text(user, where, "username"));
    ASSIGN_OR_RETURN(config_.password, text(user, where, "password"));
    for (const char c : config_.token) {
      if (static_cast<unsigned char>(c) <= ' ' || c == '\x7f') {
        return invalid(where + ".token", "has a space or control character");
      }
    }
    return {};
  }

  const std::string& path_;
  const std::string folder_;  // with its slash; empty: the working directory
  const FileReader& read_file_;
  std::string context_;
  ClientConfig config_;
};

}  // namespace

Result<ClientConfig> parse_kubeconfig(std::string_view text, const std::string& path,
                                      std::string_view context, const FileReader& read_file) {
  ASSIGN_OR_RETURN(const std::string json, api::yaml_to_json(text, path));
  dom::parser parser;
  dom::object root;
  if (const auto error = parser.parse(json).get_object().get(root)) {
    return Status::error(
        StatusCode::kInvalid, kOperation, path,
        error == simdjson::INCORRECT_TYPE ? "is not a mapping" : simdjson::error_message(error));
  }
  return Loader(path, read_file).load(root, context);
}

Result<ClientConfig> load_kubeconfig(const std::string& path, std::string_view context) {
  ASSIGN_OR_RETURN(const std::string text, read_whole_file(path));
  return parse_kubeconfig(text, path, context, read_whole_file);
}

}  // namespace fairlead::client
