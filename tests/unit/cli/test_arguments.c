/* The program itself, started as a user starts it: exit codes and messages for wrong usage, and for no server. */
#include "clients/cli/cli.h"
#include "folder.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *program;
static char output[1 << 16];

/* Runs `bioseg ARGUMENTS` by the shell; what it says goes to output. Yields its exit code. */
static int run(const char *arguments)
{
    char *command = NULL;
    assert_true(asprintf(&command, "%s %s 2>&1", program, arguments) > 0);
    FILE *f = popen(command, "r");
    assert_non_null(f);
    size_t n = fread(output, 1, sizeof output - 1, f);
    output[n] = '\0';
    int status = pclose(f);
    free(command);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void expect(const char *arguments, int code, const char *text)
{
    int got = run(arguments);
    if (got != code || !strstr(output, text))
        fail_msg("bioseg %s: exit code %d (expected %d), said: %s (expected: %s)", arguments, got, code,
                 output, text);
}

static void wrong_usage_is_2_and_says_what_is_accepted(void **state)
{
    (void)state;
    put("a.png", "x");
    expect("", 2, "no command given");
    expect("sgment", 2, "there is no command 'sgment'");
    expect("segment", 2, "no image given");
    expect("segment -m x a.png", 2, "give -o FOLDER");
    expect("segment -o out a.png", 2, "which model?");
    expect("segment -m x -o out --format jpeg a.png", 2, "neither tiff nor png");
    expect("segment -m x -o out --jobs 0 a.png", 2, "from 1 to 64");
    expect("segment -m x -o out --set foo a.png", 2, "NAME=VALUE");
    expect("segment -m x -o out --scale 99 a.png", 2, "from 0.05 to 20");
    expect("segment -m x -o out --precision fp8 a.png", 2, "neither fp32 nor bf16");
    expect("segment -m x -o out --nonsense a.png", 2, "unrecognized option");
    expect("models", 2, "list");
    expect("models frobnicate", 2, "there is no command 'frobnicate'");
    expect("models describe", 2, "is missing");
    expect("models list extra", 2, "too many");
    expect("models export", 2, "is missing");
    expect("models export x --format keras -o y", 2,
           "none of safetensors, pt, state-dict, onnx and bioimageio");
    expect("models export x", 2, "give -o FILE");
    expect("models export x -o a.png", 2, "--overwrite replaces it");
    expect("models import", 2, "is missing");
    expect("models import nowhere.zip", 2, "cannot read nowhere.zip");
    expect("models import x --keep -1", 2, "above 0");
    expect("jobs list --state sleeping", 2, "none of queued");
    expect("evaluate one", 2, "PREDICTION and TRUTH");
    expect("convert in.pt", 2, "-o FILE.safetensors");
    expect("--server nowhere info", 2, "not an address");
    expect("--timeout -1 info", 2, "above 0");
}

static void names_are_checked_before_the_server_is_asked(void **state)
{
    (void)state;
    put("a/cell.png", "x");
    put("b/cell.tif", "x");
    put("in/own.tif", "x");
    expect("--server unix:/nowhere segment -m x -o out a/cell.png b/cell.tif", 2, "would both be written to");
    expect("--server unix:/nowhere segment -m x -o in in/own.tif", 2, "is an input and would be overwritten");
    expect("--server unix:/nowhere segment -m x -o out missing.tif", 2, "missing.tif: no such file");
}

static void no_server_is_3_and_says_where_it_was_looked_for(void **state)
{
    (void)state;
    put("a.png", "x");
    expect("--server unix:/nowhere/biosegd.sock info", 3, "no server answers at unix:/nowhere/biosegd.sock");
    expect("--server 127.0.0.1:1 models list", 3, "is biosegd running there?");
    expect("--server unix:/nowhere/biosegd.sock segment -m x -o out a.png", 3, "no server answers");
    expect("--server unix:/nowhere/biosegd.sock train --dataset d --model m", 3, "no server answers");
    assert_false(exists("out/a.tif"));
}

static void a_token_is_not_sent_in_the_clear(void **state)
{
    (void)state;
    put("token", "secret\n");
    expect("--server gpu-box.example:50051 --token-file token info", 2, "in the clear");
    expect("--server unix:/x --tls info", 2, "not spoken on a Unix socket");
    put("notpem", "hello");
    expect("--server gpu-box.example:50051 --token-file token --tls-ca notpem info", 2,
           "no certificate in PEM form");
}

static void errors_are_json_when_json_is_asked_for(void **state)
{
    (void)state;
    assert_int_equal(run("--json --server unix:/nowhere info"), 3);
    json_error_t where;
    json_t *j = json_loads(output, 0, &where);
    assert_non_null(j);
    json_t *e = json_object_get(j, "error");
    assert_int_equal(json_integer_value(json_object_get(e, "exit_code")), 3);
    assert_string_equal(json_string_value(json_object_get(e, "kind")), "unavailable");
    json_decref(j);
}

static void help_explains_with_examples(void **state)
{
    (void)state;
    static const char *const commands[] = {
        "--help",         "segment --help", "jobs submit --help", "models import --help", "evaluate --help",
        "convert --help", "info --help",    "train --help",       "datasets add --help"};
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        expect(commands[i], 0, "Examples:");
    expect("--help", 0, "Exit codes:");
    expect("models --help", 0, "describe");
    expect("jobs --help", 0, "submit");
    expect("--version", 0, "bioseg " BS_VERSION);
}

static void evaluation_and_conversion_need_no_server(void **state)
{
    (void)state;
    put("p/a.png", "not an image");
    put("t/a.png", "not an image");
    expect("evaluate p t", 6, "p/a.png");
    expect("evaluate p t/a.png", 2, "two files or two folders");
    expect("convert missing.pt -o out.safetensors", 2, "missing.pt");
    put("bad.pt", "not a checkpoint");
    expect("convert bad.pt -o out.safetensors", 6, "");
    assert_false(exists("out.safetensors"));
    expect("convert bad.pt -o bad.pt", 2, "is the checkpoint itself");
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 77;
    program = argv[1];
    setenv("XDG_DATA_HOME", "/nowhere", 1);
    unsetenv("BIOSEG_SERVER");
    unsetenv("BIOSEG_TOKEN_FILE");
    unsetenv("BIOSEG_TLS_CA");
#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, enter_folder, leave_folder)
    const struct CMUnitTest tests[] = {
        IN_FOLDER(wrong_usage_is_2_and_says_what_is_accepted),
        IN_FOLDER(names_are_checked_before_the_server_is_asked),
        IN_FOLDER(no_server_is_3_and_says_where_it_was_looked_for),
        IN_FOLDER(a_token_is_not_sent_in_the_clear),
        IN_FOLDER(errors_are_json_when_json_is_asked_for),
        IN_FOLDER(help_explains_with_examples),
        IN_FOLDER(evaluation_and_conversion_need_no_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
