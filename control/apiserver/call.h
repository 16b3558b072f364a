// One request on its way through the front end.
//
// Threads: one at a time: a worker's, then that of the registry's completion.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "control/apiserver/encoder.h"
#include "control/apiserver/front_end.h"
#include "control/apiserver/request_info.h"

namespace fairlead::apiserver {

class Call : public std::enable_shared_from_this<Call> {
 public:
  Call(FrontEnd& front, net::HttpRequest request, RequestInfo info,
       std::unique_ptr<net::Responder> responder);
  ~Call();

  bool mutating() const;
  bool is_watch() const { return info_.is_resource && info_.verb == "watch"; }
  void hold_place() { holds_place_ = true; }

  void refuse(const ApiError& error);
  void run();  // on a worker

 private:
  void run_page();
  void run_resource();
  bool admit_user();  // false: refused
  bool find_target();
  bool negotiate_form();
  void run_verb();

  void get();
  void list();
  void watch();
  void create();
  void update();
  void patch();
  void remove();
  void remove_collection();
  void review(schema::Document body);

  std::string_view header(std::string_view name) const;
  void count(int status);
  void refuse_crowded();
  void stream_list(const ListAnswer& list);
  void respond(net::HttpResponse response);
  void answer(const Object& object, int status, const std::vector<std::string>& warnings);
  void answer_written(Outcome<Written> outcome);
  void answer_list(Outcome<ListAnswer> outcome);
  Outcome<WriteContext> write_context();

  FrontEnd& front_;
  const net::HttpRequest request_;
  const RequestInfo info_;
  std::unique_ptr<net::Responder> responder_;
  const std::chrono::steady_clock::time_point begun_ = std::chrono::steady_clock::now();
  auth::User user_;
  Target target_;
  Rendering rendering_;
  bool holds_place_ = false;
};

}  // namespace fairlead::apiserver
