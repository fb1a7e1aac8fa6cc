/* A training job whose daemon and worker are killed after each system call of a checkpoint, one after the other, makes the model of
   one that was left alone; and one whose disk is full at any of those calls waits, says why, and goes on. The processes are this
   program again, once to begin the job and once more after every kill, traced by the first. */
#include "office_support.h"
#include "tests/support/traced.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* Every start makes at least one step, and two when the kill came late. */
#define STEPS 200
/* Sanitizers make a start take seconds: then every seventh call. */
#define STRIDE (SANITIZED ? 7 : 1)

static const char *self;   /* this program */
static const char *folder; /* of the lab; a started one's from its arguments */

/* ---- the processes that are started ---- */

static struct office join_office(void)
{
    struct office o = {.lab = calloc(1, sizeof *o.lab)};
    assert_non_null(o.lab);
    (void)snprintf(o.lab->dir, sizeof o.lab->dir, "%s", folder);
    (void)snprintf(o.lab->model_path, sizeof o.lab->model_path, "%s/model.safetensors", folder);
    write_model(o.lab->model_path, &o.lab->info);
    o.lab->engine = start_engine(0);
    return o;
}

static void leave_office(struct office *o)
{
    close_office(o);
    bs_engine_destroy(o->lab->engine);
    free(o->lab);
}

static void write_id(const char *id)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/job", folder);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, id, 40), 40);
    close(fd);
}

static void read_id(char id[40])
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/job", folder);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_int_equal(read(fd, id, 40), 40);
    close(fd);
}

/* The run that nobody disturbs, and the submission of the one to be disturbed. */
static void begin(void **state)
{
    char quiet[40], disturbed[40];
    struct bs_err err = {.msg = ""};
    struct office o = join_office();
    (void)state;
    make_dataset(o.lab, &o.data);
    open_office(&o, 0);
    assert_int_equal(bs_blob_put(o.blobs, o.data.manifest, strlen(o.data.manifest), o.manifest, &err), BS_OK);
    struct bs_train_config config = office_config(&o, STEPS);
    config.validate_every = STEPS;
    config.checkpoint_every = 0;
    submit_config(&o, "quiet", &config, quiet);
    await(&o, quiet, BS_JOB_SUCCEEDED, STEPS);
    config.checkpoint_every = 1;
    submit_config(&o, "disturbed", &config, disturbed);
    write_id(disturbed);
    leave_office(&o);
    clear_dataset(&o.data);
}

/* Takes the job up where it is. When it pauses, it must say that the disk is full, and is resumed. */
static void work(void **state)
{
    char id[40];
    struct office o = join_office();
    bool over = false;
    (void)state;
    read_id(id);
    open_office(&o, 0);
    for (double end = now_s() + 100; !over && now_s() < end; sleep_ms(1)) {
        struct bs_job_record j;
        struct bs_err err = {.msg = ""};
        assert_int_equal(bs_store_job_get(o.store, id, &j, &err), BS_OK);
        over = j.state == BS_JOB_SUCCEEDED;
        if (j.state == BS_JOB_PAUSED) {
            const bool told = j.error && (strstr(j.error, "full") || strstr(j.error, "No space left"));
            if ((j.error_code != BS_EIO && j.error_code != BS_ELIMIT) || !told)
                fail_msg("paused with status %d: %s", j.error_code, j.error ? j.error : "");
            assert_int_equal(bs_jobs_resume(o.jobs, id, &err), BS_OK);
        } else if (!over && j.state != BS_JOB_QUEUED && j.state != BS_JOB_RUNNING) {
            fail_msg("the job is %s: %s", bs_job_state_name(j.state), j.error ? j.error : "");
        }
        bs_job_record_free(&j);
    }
    assert_true(over);
    leave_office(&o);
}

static void check(void **state)
{
    char id[40], quiet[65], disturbed[65];
    struct office o = join_office();
    (void)state;
    read_id(id);
    open_office(&o, 0);
    assert_int_equal(count_notes(&o, id), STEPS);
    model_blob(&o, "quiet", quiet);
    model_blob(&o, "disturbed", disturbed);
    assert_string_equal(quiet, disturbed);
    leave_office(&o);
}

static int run_alone(const char *what)
{
    int status = -1;
    const pid_t child = fork();
    if (child == 0) {
        execl(self, self, what, folder, (char *)NULL);
        _exit(127);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return status;
}

/* ---- the one that traces them ---- */

enum {
    WORKER,
    KEEPER,
    PARTIES
}; /* the worker's executor, which writes a checkpoint; the daemon's trainer, which keeps it */

/* Whose system calls belong to a checkpoint: the worker's from the opening of a nameless file to its closing, the keeper's from the
   moment that it was handed over to the word that it is kept. Waiting for another thread is none. */
struct watched {
    pid_t thread[PARTIES];
    bool inside[PARTIES];
    int calls[PARTIES]; /* of this checkpoint so far */
    int begun;          /* checkpoints of this start */
    bool kept;          /* the last one is */
};

static bool opens_nameless(const struct traced_call *c)
{
    return c->number == SYS_openat && (c->argument[2] & O_TMPFILE) == O_TMPFILE;
}

/* The blob store's temporary file. */
static bool opens_blob(const struct traced_call *c)
{
    const uint64_t flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW;
    return c->number == SYS_openat && (c->argument[2] & flags) == flags;
}

/* The party of a checkpoint whose call this is; PARTIES: it belongs to none. Counts when it is over. */
static int watch(struct watched *w, const struct traced_call *c)
{
    int party = PARTIES;
    if (c->entering && opens_nameless(c)) {
        w->thread[WORKER] = c->thread;
        w->inside[WORKER] = true;
        w->inside[KEEPER] = w->kept = false;
        w->calls[WORKER] = w->calls[KEEPER] = 0;
        w->begun++;
    } else if (c->entering && opens_blob(c)) {
        w->thread[KEEPER] = c->thread;
    }
    for (int i = 0; i < PARTIES; i++)
        if (w->inside[i] && w->thread[i] == c->thread && c->number != SYS_futex)
            party = i;
    if (party == PARTIES || c->entering)
        return party;
    w->calls[party]++;
    if (party == WORKER && c->number == SYS_sendmsg)
        w->inside[KEEPER] = true;
    else if (party == WORKER && c->number == SYS_close)
        w->inside[WORKER] = false;
    else if (party == KEEPER && c->number == SYS_write && c->argument[2] == sizeof(uint64_t)) {
        w->inside[KEEPER] = false; /* the engine's thread is woken to tell the worker */
        w->kept = true;
    }
    return party;
}

/* Calls that take room on the disk. */
static bool takes_room(const struct traced_call *c)
{
    switch (c->number) {
    case SYS_openat:
        return opens_nameless(c) || opens_blob(c);
    case SYS_write:
        return c->argument[2] != sizeof(uint64_t); /* else it wakes a thread */
    case SYS_writev:
    case SYS_pwrite64:
    case SYS_ftruncate:
    case SYS_fallocate:
    case SYS_fsync:
    case SYS_fdatasync:
    case SYS_rename:
    case SYS_renameat:
        return true;
    default:
        return false;
    }
}

struct killing {
    struct watched watched;
    int party, at; /* after so many calls of that party in the second checkpoint of a start */
    bool struck;
    long call; /* that it was */
};

static enum traced_verdict kill_there(void *ctx, const struct traced_call *c)
{
    struct killing *k = ctx;
    const int party = watch(&k->watched, c);
    if (k->struck || c->entering || party != k->party || k->watched.begun != 2 ||
        k->watched.calls[party] != k->at)
        return TRACED_GO_ON;
    k->struck = true;
    k->call = c->number;
    return TRACED_KILL;
}

static int work_under(traced_look look_at, void *ctx)
{
    char *const argv[] = {(char *)self, (char *)"--work", (char *)folder, NULL};
    if (SANITIZED)
        (void)setenv("LSAN_OPTIONS", "detect_leaks=0", 1); /* which would trace the process, too */
    return traced_run(argv, look_at, ctx);
}

static bool among(const long *calls, int count, long call)
{
    for (int i = 0; i < count; i++)
        if (calls[i] == call)
            return true;
    return false;
}

#define MOST_CALLS 200 /* of one party for one checkpoint */

/* How many calls a party made in a checkpoint: a kill came after each. */
static int kill_after_each(int party, long *calls)
{
    for (int at = 1; at <= MOST_CALLS; at += STRIDE) {
        struct killing k = {.party = party, .at = at};
        const int status = work_under(kill_there, &k);
        if (!k.struck) {
            assert_int_equal(status, 0); /* that was one too many, and the run has ended */
            return at - 1;
        }
        assert_true(WIFSIGNALED(status));
        calls[at - 1] = k.call;
    }
    fail_msg("more than %d calls for a checkpoint", MOST_CALLS);
    return 0;
}

/* `what` has to be among them, or the test would be of something else. */
static void a_run_killed_after_each_call_of(int party, const long *what, int count)
{
    static long calls[MOST_CALLS];
    assert_int_equal(run_alone("--begin"), 0);
    const int made = kill_after_each(party, calls);
    assert_int_equal(run_alone("--check"), 0);
    printf("killed after each of %d system calls of the %s%s\n", made, party == WORKER ? "worker" : "daemon",
           STRIDE > 1 ? ", but for most" : "");
    for (int i = 0; i < count && STRIDE == 1; i++)
        if (!among(calls, made, what[i]))
            fail_msg("call %ld is not among those of a checkpoint", what[i]);
}

static void a_run_killed_after_any_system_call_that_writes_a_checkpoint_makes_the_same_bytes(void **state)
{
    static const long what[] = {SYS_openat, SYS_write, SYS_sendmsg, SYS_close};
    (void)state;
    a_run_killed_after_each_call_of(WORKER, what, sizeof what / sizeof *what);
}

static void a_run_killed_after_any_system_call_that_keeps_a_checkpoint_makes_the_same_bytes(void **state)
{
    static const long what[] = {SYS_openat, SYS_pread64,  SYS_write,    SYS_fchmod,
                                SYS_fsync,  SYS_renameat, SYS_pwrite64, SYS_fdatasync};
    (void)state;
    a_run_killed_after_each_call_of(KEEPER, what, sizeof what / sizeof *what);
}

struct filling {
    struct watched watched;
    int next;    /* the call that takes room which is refused next, counted in a checkpoint from 1 */
    int at;      /* such calls of this checkpoint so far */
    int begun;   /* the checkpoint that `at` counts in */
    int refused; /* all calls */
    bool over;   /* no checkpoint has so many */
};

/* In every checkpoint one call later. */
static enum traced_verdict fill_there(void *ctx, const struct traced_call *c)
{
    struct filling *f = ctx;
    const int party = watch(&f->watched, c);
    if (f->watched.begun != f->begun) {
        f->begun = f->watched.begun;
        f->at = 0;
    }
    if (f->watched.kept && f->at && f->at < f->next)
        f->over = true;
    if (f->over || !c->entering || party == PARTIES || !takes_room(c) || ++f->at != f->next)
        return TRACED_GO_ON;
    f->next += STRIDE;
    f->refused++;
    if (opens_nameless(c))
        f->watched.inside[WORKER] = false; /* nothing is closed */
    return TRACED_REFUSE;
}

static void a_disk_that_is_full_at_any_write_of_a_checkpoint_pauses_the_run_and_loses_nothing(void **state)
{
    struct filling f = {.next = 1};
    (void)state;
    assert_int_equal(run_alone("--begin"), 0);
    assert_int_equal(work_under(fill_there, &f), 0);
    assert_true(f.over);
    printf("%d writes were refused\n", f.refused);
    assert_true(f.refused >= 10 / STRIDE);
    assert_int_equal(run_alone("--check"), 0);
}

static int make_folder(void **state)
{
    static char path[256];
    const char *base = getenv("TMPDIR");
    (void)snprintf(path, sizeof path, "%s/bs-killed-XXXXXX", base ? base : "/tmp");
    *state = mkdtemp(path);
    folder = path;
    return *state ? 0 : -1;
}

static int remove_folder(void **state)
{
    char command[300];
    (void)snprintf(command, sizeof command, "rm -rf '%s'", (const char *)*state);
    return system(command);
}

int main(int argc, char **argv)
{
    const struct {
        const char *argument;
        struct CMUnitTest test;
    } started[] = {{"--begin", cmocka_unit_test(begin)},
                   {"--work", cmocka_unit_test(work)},
                   {"--check", cmocka_unit_test(check)}};
#define IN_A_FOLDER(test) cmocka_unit_test_setup_teardown(test, make_folder, remove_folder)
    const struct CMUnitTest tests[] = {
        IN_A_FOLDER(a_run_killed_after_any_system_call_that_writes_a_checkpoint_makes_the_same_bytes),
        IN_A_FOLDER(a_run_killed_after_any_system_call_that_keeps_a_checkpoint_makes_the_same_bytes),
        IN_A_FOLDER(a_disk_that_is_full_at_any_write_of_a_checkpoint_pauses_the_run_and_loses_nothing),
    };
    self = argv[0];
    for (size_t i = 0; argc == 3 && i < sizeof started / sizeof *started; i++)
        if (!strcmp(argv[1], started[i].argument)) {
            const struct CMUnitTest one[] = {started[i].test};
            folder = argv[2];
            return cmocka_run_group_tests(one, NULL, NULL);
        }
    if (!traced_possible()) {
        printf("skipped: this machine lets no process trace another\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
