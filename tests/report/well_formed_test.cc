#include "well_formed.h"

#include <gtest/gtest.h>

namespace cllm::report {
namespace {

TEST(WellFormed, WhatIsRightPasses) {
  EXPECT_EQ(malformed("<!DOCTYPE html><p class=\"a &gt; b\">1 &lt; 2<br/></p>"), "");
  EXPECT_EQ(malformed("<style>a > b { }</style><meta charset=\"utf-8\"><svg><g/></svg>"), "");
}

TEST(WellFormed, WhatIsWrongIsFound) {
  for (const char* text : {"<p>", "</p>", "<p><b></p></b>", "a & b", "a > b", "<p title=x></p>",
                           "<p title=\"<\"></p>", "<p", "<p title=\"a></p>", "1 < 2"}) {
    EXPECT_NE(malformed(text), "") << text;
  }
}

}  // namespace
}  // namespace cllm::report
