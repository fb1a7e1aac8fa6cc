/* YAML as the JSON it could have been: block and flow collections, all kinds of scalars, plain ones typed by YAML 1.2's core
   schema. Anchors, aliases, tags and a second document are refused: descriptions of models need none, and they are how small
   texts become large. The tree obeys json.h's limits. Internal to model/weights. One thread. */
#ifndef BS_MODEL_WEIGHTS_YAML_H
#define BS_MODEL_WEIGHTS_YAML_H

#include "model/weights/json.h"

bs_status bs__yaml_parse(const char *text, size_t len, size_t max_values, struct bs_json **out,
                         struct bs_err *err) BS_NODISCARD;

#endif
