// test-api-server [--port N] [--address A] [--token T] [--kubeconfig FILE] [FILE...]
//
// Serves the JSON objects of the files (or List objects, or several objects one after the other)
// until it is ended by a signal. While it runs, objects read from standard input are put too, one a
// line; a line "delete <path> <namespace> <name>" removes one.
#include <signal.h>
#include <simdjson.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <sstream>
#include <thread>

#include "tests/api_server/api_server.h"

namespace {

using fairlead::Status;
using fairlead::api_server::ApiServer;
using fairlead::api_server::ApiServerOptions;

bool complain(const Status& status) {
  if (!status.ok()) std::fprintf(stderr, "%s\n", status.message().c_str());
  return status.ok();
}

// Puts every object of a text; false when one was refused.
bool put_all(ApiServer& server, const std::string& text) {
  bool ok = true;
  simdjson::dom::parser parser;
  simdjson::dom::document_stream documents;
  const simdjson::padded_string padded(text);
  const size_t window = std::max<size_t>(padded.size(), 1 << 20);
  if (const auto error = parser.parse_many(padded, window).get(documents)) {
    std::fprintf(stderr, "%s\n", simdjson::error_message(error));
    return false;
  }
  for (auto document : documents) {
    simdjson::dom::element object;
    if (const auto error = document.get(object)) {
      std::fprintf(stderr, "%s\n", simdjson::error_message(error));
      return false;
    }
    simdjson::dom::array items;
    if (object["items"].get(items) == simdjson::SUCCESS) {
      for (const auto item : items) ok = complain(server.put(simdjson::minify(item))) && ok;
    } else {
      ok = complain(server.put(simdjson::minify(object))) && ok;
    }
  }
  return ok;
}

void follow_input(ApiServer& server) {
  std::string line;
  while (std::getline(std::cin, line)) {
    std::istringstream words(line);
    std::string command;
    std::string path;
    std::string name_space;
    std::string name;
    if (words >> command && command == "delete" && words >> path >> name_space >> name) {
      complain(server.remove(path, name_space == "-" ? "" : name_space, name));
    } else if (!line.empty()) {
      put_all(server, line);
    }
  }
}

int usage() {
  std::fprintf(stderr,
               "usage: test-api-server [--port N] [--address A] [--token T] [--kubeconfig FILE] "
               "[FILE...]\n");
  return 2;
}

}  // namespace

int main(int argc, char** argv) {
  // Blocked before any thread exists, so that none of them takes the signals.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGINT);
  sigaddset(&signals, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  ApiServerOptions options;
  std::string kubeconfig;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (!argument.starts_with("--")) {
      files.push_back(argument);
      continue;
    }
    if (i + 1 == argc) return usage();
    const std::string value = argv[++i];
    if (argument == "--port") {
      char* end = nullptr;
      const unsigned long port = std::strtoul(value.c_str(), &end, 10);  // NOLINT: strtoul's type
      if (value.empty() || *end != '\0' || port > 65535) return usage();
      options.port = static_cast<uint16_t>(port);
    } else if (argument == "--address") {
      options.address = value;
    } else if (argument == "--token") {
      options.bearer_token = value;
    } else if (argument == "--kubeconfig") {
      kubeconfig = value;
    } else {
      return usage();
    }
  }
  const auto server = ApiServer::start(options);
  if (!server) return complain(server.status()), 1;
  bool ok = true;
  for (const std::string& file : files) {
    std::ifstream in(file);
    std::stringstream text;
    text << in.rdbuf();
    if (!in || !put_all(**server, text.str())) {
      std::fprintf(stderr, "cannot serve %s\n", file.c_str());
      ok = false;
    }
  }
  if (!ok) return 1;
  if (!kubeconfig.empty()) std::ofstream(kubeconfig) << (*server)->kubeconfig().value();
  std::printf("%s\n", (*server)->url().c_str());
  std::fflush(stdout);
  std::thread follower([&server] { follow_input(**server); });
  follower.detach();  // it blocks in a read that nothing can end
  int signal = 0;
  sigwait(&signals, &signal);
  (*server)->stop_listening();
  std::fflush(nullptr);
  _exit(0);  // the follower may still be at work: no destructors under its feet
}
