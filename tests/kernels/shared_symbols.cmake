# Fails if an object file among OBJECTS whose name contains MATCHING defines weak code: an
# inline function or template instance, of which the linker keeps one for the whole program.
set(seen FALSE)
foreach(object IN LISTS OBJECTS)
  if(object MATCHES "${MATCHING}")
    set(seen TRUE)
    execute_process(COMMAND ${NM} --defined-only -C ${object} OUTPUT_VARIABLE symbols
      COMMAND_ERROR_IS_FATAL ANY)
    if(symbols MATCHES "\n([0-9a-f]+ W [^\n]*)")
      message(FATAL_ERROR "${object} has a symbol that other files may share: ${CMAKE_MATCH_1}")
    endif()
  endif()
endforeach()
if(NOT seen)
  message(FATAL_ERROR "no object file matches ${MATCHING}")
endif()
