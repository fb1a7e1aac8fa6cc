/* What the commands print: tables for people, JSON for programs. Both come from the same JSON value, so that --json
   never knows less. Pure but for the stream written to; any thread. */
#ifndef BS_CLIENTS_CLI_OUTPUT_H
#define BS_CLIENTS_CLI_OUTPUT_H

#include <jansson.h>
#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stdio.h>

/* A string; bytes that are not UTF-8 (file names may have them) become \xNN. NULL gives null. New reference. */
json_t *bs__json_text(const char *text);

/* A message as JSON: field names as in the .proto, enums by name, 64-bit integers as numbers, NaN and infinities as
   null, bytes as their length, unset oneof members and messages left out. New reference; NULL without memory. */
json_t *bs__json_of_message(const ProtobufCMessage *message);

/* Writes a value and a newline. Takes no reference. */
void bs__print_json(FILE *out, const json_t *value);

/* One column of a table: a dotted path into each row ("progress.done"). */
struct bs__column {
    const char *title;
    const char *path;
    bool right; /* numbers */
};
/* Prints rows (an array of objects) with aligned columns. Control characters are not passed on to the terminal. */
void bs__print_table(FILE *out, const json_t *rows, const struct bs__column *columns, size_t n);
/* Prints an object as "name: value" lines, nested objects indented. */
void bs__print_fields(FILE *out, const json_t *object, int indent);

/* Replaces "created_ms" and other members ending in "_ms" by local times ("created": "2026-01-31 12:00:00"); 0, which is
   "not yet" or "never", is left out. For people only. */
void bs__make_times_readable(json_t *object);

/* "12.3 MiB"; text must hold 16 bytes. Returns text. */
const char *bs__human_bytes(double bytes, char text[16]);

#endif
