# fairlead_library(name SOURCES ... [PUBLIC ...] [PRIVATE ...])
# One static library a folder. PUBLIC: libraries whose headers our headers include.
function(fairlead_library name)
  cmake_parse_arguments(ARG "" "" "SOURCES;PUBLIC;PRIVATE" ${ARGN})
  add_library(${name} STATIC ${ARG_SOURCES})
  target_include_directories(${name} PUBLIC ${CMAKE_SOURCE_DIR})
  target_link_libraries(${name} PUBLIC ${ARG_PUBLIC} PRIVATE ${ARG_PRIVATE})
endfunction()

# All tests and fuzzers that need no daemon, and the programs: what the sanitizer builds compile.
add_custom_target(sanitized)

# For what runs about once for each time that it is compiled.
function(fairlead_compiles_fast name)
  target_compile_options(${name} PRIVATE $<$<CONFIG:RelWithDebInfo>:-O0>)
endfunction()

# fairlead_test(name SOURCES ... LIBRARIES ... [LABELS ...])
# A GoogleTest binary, one ctest entry. Tests that need root or a kernel feature skip by name.
function(fairlead_test name)
  cmake_parse_arguments(ARG "" "TIMEOUT" "SOURCES;LIBRARIES;LABELS;ARGUMENTS" ${ARGN})
  if(NOT FAIRLEAD_TESTS)
    return()
  endif()
  if(NOT ARG_TIMEOUT)
    set(ARG_TIMEOUT 120)
  endif()
  add_executable(${name} ${ARG_SOURCES})
  add_dependencies(sanitized ${name})
  fairlead_compiles_fast(${name})
  if(FAIRLEAD_SANITIZE MATCHES undefined)
    # More than a quarter of the compile time, for what ASan reports as well (null), or x86 does not mind (alignment).
    # The libraries under test keep both.
    target_compile_options(${name} PRIVATE -fno-sanitize=null,alignment)
  endif()
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES} GTest::gmock GTest::gtest_main)
  add_test(NAME ${name} COMMAND ${name} ${ARG_ARGUMENTS})
  set_tests_properties(${name} PROPERTIES TIMEOUT ${ARG_TIMEOUT} LABELS "${ARG_LABELS}")
  if(FAIRLEAD_SANITIZE)
    # Sanitizers make random cases five times as slow, and all of them run without: a third of the usual 100.
    set_tests_properties(${name} PROPERTIES ENVIRONMENT RC_PARAMS=max_success=33)
  endif()
endfunction()

# fairlead_fuzzer(name SOURCES ... LIBRARIES ...)
# A libFuzzer binary (FAIRLEAD_FUZZ only) and a ctest entry that runs all of its corpus in tests/fuzz/corpus/<name>,
# however long that takes, and goes on with new inputs for FAIRLEAD_FUZZ_SECONDS. Those go to the build tree.
set(FAIRLEAD_FUZZ_SECONDS 2 CACHE STRING "How long ctest runs each fuzzer")
function(fairlead_fuzzer name)
  cmake_parse_arguments(ARG "" "" "SOURCES;LIBRARIES" ${ARGN})
  if(NOT FAIRLEAD_FUZZ)
    return()
  endif()
  add_executable(${name} ${ARG_SOURCES})
  add_dependencies(sanitized ${name})
  target_link_libraries(${name} PRIVATE ${ARG_LIBRARIES})
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  set(found ${CMAKE_CURRENT_BINARY_DIR}/corpus-${name})
  file(MAKE_DIRECTORY ${found})
  add_test(NAME ${name} COMMAND ${name} -max_total_time=${FAIRLEAD_FUZZ_SECONDS} -timeout=5 -rss_limit_mb=1024 ${found}
                                ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${name})
  set_tests_properties(${name} PROPERTIES TIMEOUT 120 LABELS fuzz)
endfunction()
