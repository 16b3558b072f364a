#include <fmt/format.h>

#include <charconv>
#include <chrono>

#include "control/apiserver/continuation.h"
#include "control/apiserver/registry_impl.h"

namespace fairlead::apiserver {

namespace {

constexpr size_t kScanPage = 1000;

bool passes(const Object& object, const ListOptions& options) {
  if (!options.labels.empty() && !options.labels.matches(object.value().at("metadata.labels"))) {
    return false;
  }
  return options.fields.empty() || options.fields.matches(object.value());
}

ApiError bad_option(std::string_view field, std::string_view detail) {
  return bad_request(fmt::format("{}: Forbidden: {}", field, detail));
}

// Which state a list is of.
struct Which {
  store::Revision exact = 0;
  store::Revision at_least = 0;
  bool cached = false;
};

Outcome<Which> which_state(const ListOptions& options) {
  Which which;
  if (!options.continuation.empty()) {
    if (!options.resource_version.empty() && options.resource_version != "0") {
      return bad_request("specifying resource version is not allowed when using continue");
    }
    return which;
  }
  if (options.resource_version.empty()) {
    if (!options.match.empty()) {
      return bad_option("resourceVersionMatch",
                        "resourceVersionMatch is forbidden unless resourceVersion is provided");
    }
    return which;
  }
  Outcome<store::Revision> revision = parse_revision(options.resource_version);
  if (!revision) return revision.error();
  if (options.match == "Exact") {
    if (*revision == 0) {
      return bad_option("resourceVersionMatch",
                        "resourceVersionMatch \"Exact\" is forbidden for resourceVersion \"0\"");
    }
    which.exact = *revision;
  } else if (!options.match.empty() && options.match != "NotOlderThan") {
    return bad_request(
        fmt::format("resourceVersionMatch: Unsupported value: \"{}\": supported values: \"Exact\", "
                    "\"NotOlderThan\"",
                    options.match));
  } else if (*revision == 0) {
    which.cached = true;
  } else if (options.match.empty() && options.limit > 0) {
    which.exact = *revision;  // what paging clients have relied on before there was a match
  } else {
    which.at_least = *revision;
  }
  return which;
}

}  // namespace

Outcome<store::Revision> parse_revision(std::string_view text) {
  uint64_t revision = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), revision);
  if (error != std::errc() || end != text.data() + text.size() || revision > INT64_MAX) {
    return bad_request(
        fmt::format("resourceVersion: Invalid value: \"{}\": strconv.ParseUint: "
                    "parsing \"{}\": invalid syntax",
                    text, text));
  }
  return static_cast<store::Revision>(revision);
}

StoreCall<Result<store::RangeResult>> RegistryImpl::range(store::RangeRequest request) {
  return StoreCall<Result<store::RangeResult>>(
      pool_, [this, request = std::move(request)](auto done) { store_.range(request, done); });
}

RegistryImpl::Answer<store::EntryPtr> RegistryImpl::load(std::string key) {
  store::RangeRequest request;
  request.key = std::move(key);
  Result<store::RangeResult> found = co_await range(std::move(request));
  if (!found) co_return from_status(found.status());
  if (found->entries.empty()) co_return store::EntryPtr();
  co_return std::move(found->entries[0]);
}

RegistryImpl::Answer<ObjectPtr> RegistryImpl::do_get(Target target, std::string resource_version) {
  if (std::optional<ApiError> error = unserved(target)) co_return std::move(*error);
  store::RangeRequest request;
  request.key = object_key(*target.resource, target.space, target.name);
  store::Revision at_least = 0;
  if (!resource_version.empty()) {
    Outcome<store::Revision> revision = parse_revision(resource_version);
    if (!revision) co_return revision.error();
    at_least = *revision;
    request.allow_cached = at_least == 0;
  }
  Result<store::RangeResult> found = co_await range(std::move(request));
  if (!found) co_return from_status(found.status());
  if (found->revision < at_least) {
    co_return too_large_resource_version(at_least, found->revision);
  }
  if (found->entries.empty()) co_return not_found(*target.resource, target.name);
  store::EntryPtr entry = found->entries[0];
  const std::string_view sub = target.subresource ? target.subresource->name : "";
  if (sub == "scale") {
    const schema::Resource& storage = storage_of(*target.resource);
    const schema::Document object = decode_stored(*entry, entry->mod_revision, storage);
    co_return object_of(scale_of(object.root, storage), nullptr,
                        schema::find_type(target.subresource->type_name), entry->mod_revision);
  }
  if (target.subresource && (target.subresource->verbs & schema::kGet) == 0) {
    co_return method_not_allowed(*target.resource, "get");
  }
  const store::Revision revision = entry->mod_revision;
  co_return cache_.get(entry, revision, *target.resource);
}

RegistryImpl::Answer<ListAnswer> RegistryImpl::do_list(Target target, ListOptions options) {
  Outcome<Which> which = which_state(options);
  if (!which) co_return which.error();
  const std::string prefix = space_prefix(*target.resource, target.space);
  store::RangeRequest page;
  page.key = prefix;
  page.end = store::prefix_end(prefix);
  page.revision = which->exact;
  page.allow_cached = which->cached;
  if (!options.continuation.empty()) {
    const std::optional<Continuation> from = decode_continuation(options.continuation);
    // Its revision may be another server's, of which this one has not heard yet.
    if (!from) co_return bad_request("continue key is not valid");
    page.key = store::key_after(prefix + from->last);
    page.revision = from->revision;
  }
  // One object, when that is all that can match.
  const std::string_view name = options.fields.name();
  const bool single = !name.empty() && (!target.resource->namespaced || !target.space.empty());
  if (single) {
    page.key = prefix + std::string(name);
    page.end.clear();
  }
  const bool filtered = !options.labels.empty() || !options.fields.empty();
  const size_t limit = options.limit > 0 ? static_cast<size_t>(options.limit) : 0;
  page.counted = limit != 0 && !filtered;  // for how many remain
  ListAnswer answer;
  while (true) {
    page.limit = limit == 0 ? 0 : filtered ? std::max(limit, kScanPage) : limit;
    Result<store::RangeResult> found = co_await range(page);
    if (!found) {
      if (found.status().code() == StatusCode::kExpired) {
        co_return expired(
            options.continuation.empty()
                ? "The resourceVersion for the provided list is too old."
                : "The provided continue parameter is too old to display a consistent list "
                  "result. You can start a new list without the continue parameter.");
      }
      const store::Revision newest = store_.revision();
      if (page.revision > newest) co_return too_large_resource_version(page.revision, newest);
      co_return from_status(found.status());
    }
    if (found->revision < which->at_least) {
      co_return too_large_resource_version(which->at_least, found->revision);
    }
    answer.revision = page.revision != 0 ? page.revision : found->revision;
    page.revision = answer.revision;
    size_t taken = 0;
    for (const store::EntryPtr& entry : found->entries) {
      if (limit != 0 && answer.objects.size() == limit) break;
      ++taken;
      ObjectPtr object = stored_object(entry, entry->mod_revision, *target.resource);
      if (filtered && !passes(*object, options)) continue;
      answer.objects.push_back(std::move(object));
    }
    const bool rest = taken < found->entries.size() || found->more;
    if (!rest || taken == 0) break;
    page.key = store::key_after(found->entries[taken - 1]->key);
    if (limit != 0 && answer.objects.size() == limit) {
      answer.continuation = encode_continuation(
          answer.revision, found->entries[taken - 1]->key.substr(prefix.size()));
      if (!filtered) answer.remaining = static_cast<int64_t>(found->count - taken);
      break;
    }
  }
  co_return answer;
}

}  // namespace fairlead::apiserver
