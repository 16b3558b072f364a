// One question to etcd and its answer, or a stream of answers, as activities of the loop.
//
// Only for the .cc files of this folder: it needs gRPC's headers.
//
// Threads: begun on any thread, driven and completed on the loop's.
#pragma once

#include <grpcpp/channel.h>
#include <grpcpp/generic/generic_stub.h>
#include <grpcpp/impl/codegen/proto_utils.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "base/thread_annotations.h"
#include "control/store/etcd/endpoints.h"
#include "control/store/etcd/loop.h"
#include "control/store/etcd/translate.h"

namespace fairlead::store {

// Tried at one endpoint after the other while that is safe: always for a question that changes
// nothing, otherwise only when it was never sent.
template <typename Request, typename Response>
class UnaryCall : public Activity {
 public:
  using Done = std::function<void(const grpc::Status&, Response&)>;

  UnaryCall(Endpoints& endpoints, std::string method, Request request, bool changes_nothing,
            std::chrono::milliseconds timeout, Done done)
      : endpoints_(endpoints),
        method_(std::move(method)),
        request_(std::move(request)),
        changes_nothing_(changes_nothing),
        deadline_(std::chrono::system_clock::now() + timeout),
        done_(std::move(done)) {}

  void begin(grpc::CompletionQueue& queue) override {
    queue_ = &queue;
    attempt();
  }

  bool proceed(bool /*ok*/) override {
    if (!status_.ok() && (status_.error_code() == grpc::StatusCode::UNAVAILABLE ||
                          status_.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED)) {
      endpoints_.move_on_from(endpoint_);
      const bool safe = was_never_sent(status_) || changes_nothing_;
      const bool cancelled = [this] {
        MutexLock lock(mutex_);
        return cancelled_;
      }();
      if (safe && !cancelled && ++attempts_ <= endpoints_.count() &&
          std::chrono::system_clock::now() < deadline_) {
        attempt();
        return true;
      }
    }
    done_(status_, response_);
    return false;
  }

  void cancel() override {
    MutexLock lock(mutex_);
    cancelled_ = true;
    if (context_) context_->TryCancel();
  }

  void abandon() override {
    done_(grpc::Status(grpc::StatusCode::CANCELLED, "the store is closing"), response_);
  }

 private:
  void attempt() {
    endpoint_ = endpoints_.current();
    response_.Clear();
    grpc::TemplatedGenericStub<Request, Response> stub(endpoints_.channel(endpoint_));
    MutexLock lock(mutex_);
    context_ = std::make_unique<grpc::ClientContext>();
    context_->set_deadline(deadline_);
    reader_ = stub.PrepareUnaryCall(context_.get(), method_, request_, queue_);
    reader_->StartCall();
    reader_->Finish(&response_, &status_, static_cast<Activity*>(this));
    if (cancelled_) context_->TryCancel();
  }

  Endpoints& endpoints_;
  const std::string method_;
  const Request request_;
  const bool changes_nothing_;
  const std::chrono::system_clock::time_point deadline_;
  const Done done_;
  grpc::CompletionQueue* queue_ = nullptr;
  size_t endpoint_ = 0;
  size_t attempts_ = 0;
  Mutex mutex_;  // of the context, which cancel() needs
  std::unique_ptr<grpc::ClientContext> context_ GUARDED_BY(mutex_);
  bool cancelled_ GUARDED_BY(mutex_) = false;
  std::unique_ptr<grpc::ClientAsyncResponseReader<Response>> reader_;
  Response response_;
  grpc::Status status_;
};

// One message out, then messages in until `next` returns false or the stream ends.
template <typename Request, typename Response>
class StreamCall : public Activity {
 public:
  using Next = std::function<bool(Response&)>;
  using Ended = std::function<void(const grpc::Status&)>;

  // Without a timeout the stream lives until one side ends it, and is one that etcd ends when its
  // member has lost the leader.
  StreamCall(const std::shared_ptr<grpc::Channel>& channel, std::string method, Request request,
             std::chrono::milliseconds timeout, Next next, Ended ended)
      : stub_(channel),
        method_(std::move(method)),
        request_(std::move(request)),
        next_(std::move(next)),
        ended_(std::move(ended)) {
    if (timeout.count() > 0) {
      context_.set_deadline(std::chrono::system_clock::now() + timeout);
    } else {
      context_.AddMetadata("hasleader", "true");
    }
  }

  void begin(grpc::CompletionQueue& queue) override {
    stream_ = stub_.PrepareCall(&context_, method_, &queue);
    stream_->StartCall(static_cast<Activity*>(this));
  }

  bool proceed(bool ok) override {
    if (step_ == Step::kFinishing) {
      ended_(status_);
      return false;
    }
    const bool wants_more = ok && (step_ != Step::kReading || next_(response_));
    if (!wants_more) {
      if (ok) context_.TryCancel();  // our own wish
      step_ = Step::kFinishing;
      stream_->Finish(&status_, static_cast<Activity*>(this));
    } else if (step_ == Step::kStarting) {
      step_ = Step::kWriting;
      stream_->Write(request_, static_cast<Activity*>(this));
    } else {
      step_ = Step::kReading;
      response_.Clear();
      stream_->Read(&response_, static_cast<Activity*>(this));
    }
    return true;
  }

  void cancel() override { context_.TryCancel(); }

  void abandon() override {
    ended_(grpc::Status(grpc::StatusCode::CANCELLED, "the store is closing"));
  }

 private:
  enum class Step { kStarting, kWriting, kReading, kFinishing };

  grpc::TemplatedGenericStub<Request, Response> stub_;
  const std::string method_;
  const Request request_;
  const Next next_;
  const Ended ended_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientAsyncReaderWriter<Request, Response>> stream_;
  Step step_ = Step::kStarting;
  Response response_;
  grpc::Status status_;
};

}  // namespace fairlead::store
