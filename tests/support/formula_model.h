/* Model files with formula weights (golden/README.md, "The formula rule"): for tests that need a network whose values are
   known without shipping them. Any thread. */
#ifndef BS_TESTS_SUPPORT_FORMULA_MODEL_H
#define BS_TESTS_SUPPORT_FORMULA_MODEL_H

#include "model/model.h"

/* Writes a model file for info->arch with formula weights. */
bs_status bs_formula_model_write(const char *path, const struct bs_model_info *info, uint64_t seed,
                                 struct bs_err *err) BS_NODISCARD;

#endif
