# Everything Fairlead takes from Debian, in one place. scripts/install-deps.sh installs it.
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(OpenSSL 3.0 REQUIRED)
find_package(ZLIB REQUIRED)
find_package(CURL REQUIRED)
find_package(fmt REQUIRED)
find_package(simdjson REQUIRED)
find_package(CLI11 REQUIRED)
find_package(prometheus-cpp CONFIG REQUIRED)
pkg_check_modules(nftables REQUIRED IMPORTED_TARGET libnftables)
pkg_check_modules(libbpf REQUIRED IMPORTED_TARGET libbpf)
pkg_check_modules(nghttp2 REQUIRED IMPORTED_TARGET libnghttp2)
pkg_check_modules(yaml REQUIRED IMPORTED_TARGET yaml-0.1)

# The kernel side of the eBPF mode is always compiled by clang; bpftool lives where root's PATH looks.
find_program(FAIRLEAD_BPF_CLANG clang-14 REQUIRED)
find_program(FAIRLEAD_BPFTOOL bpftool PATHS /usr/sbin /sbin REQUIRED)

# Asio's macros must be the same in every translation unit: nobody uses Asio but through this target.
add_library(fairlead_asio INTERFACE)
target_compile_definitions(fairlead_asio INTERFACE BOOST_ASIO_NO_DEPRECATED BOOST_ASIO_SEPARATE_COMPILATION)
target_link_libraries(fairlead_asio INTERFACE Boost::headers Threads::Threads)

if(FAIRLEAD_TESTS)
  find_package(GTest REQUIRED)
  find_package(rapidcheck REQUIRED)
endif()
if(FAIRLEAD_BENCH)
  find_package(benchmark REQUIRED)
endif()
