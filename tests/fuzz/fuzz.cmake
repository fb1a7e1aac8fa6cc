# bs_fuzzer(NAME json SOURCES fuzz_json.c LIBS bs_weights PLANTED ${PROJECT_SOURCE_DIR}/model/weights/json.c)
#
# One libFuzzer program, fuzz/NAME in the build folder. PLANTED names the source files that hold a deliberate overflow
# behind `#ifdef BS_FUZZ_PLANT`; they are compiled a second time with it into fuzz/NAME.planted, which tests/fuzz/run.sh
# expects to crash: a fuzzer that cannot find that one would not find ours either.
# Seeds: every file of tests/fuzz/NAME/seeds and whatever the globs in tests/fuzz/NAME/seeds.list (relative to the
# project's folder) match. A dictionary: tests/fuzz/NAME/dict.
function(bs_fuzzer)
  cmake_parse_arguments(F "" "NAME" "SOURCES;LIBS;PLANTED" ${ARGN})
  set(variants "${F_NAME}")
  if(F_PLANTED)
    list(APPEND variants "${F_NAME}.planted")
  endif()
  foreach(variant ${variants})
    add_executable(fuzz.${variant} ${F_SOURCES} ${PROJECT_SOURCE_DIR}/tests/fuzz/input_file.c)
    set_target_properties(fuzz.${variant} PROPERTIES OUTPUT_NAME ${variant}
      RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/fuzz)
    target_link_libraries(fuzz.${variant} PRIVATE ${F_LIBS} bs_flags)
    target_link_options(fuzz.${variant} PRIVATE -fsanitize=fuzzer)
  endforeach()
  if(F_PLANTED)
    # Symbols that the program itself defines are not taken from the libraries.
    target_sources(fuzz.${F_NAME}.planted PRIVATE ${F_PLANTED})
    target_compile_definitions(fuzz.${F_NAME}.planted PRIVATE BS_FUZZ_PLANT=1)
  endif()
endfunction()
