// test_file.c - maps, whole reads and whole writes, temporary names, refusals.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "tests/broken_disk.h"
#include "tests/pid.h"

static char folder[] = "/tmp/ridge-test-file-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; (entry = readdir(dir));) {
        char *path = file_join(folder, entry->d_name);
        if (entry->d_name[0] != '.' && remove(path) != 0)
            fprintf(stderr, "%s is left\n", path);
        free(path);
    }
    closedir(dir);
    return rmdir(folder);
}

// The path of a name in the test's folder, in one of a few rotating buffers.
static const char *in_folder(const char *name)
{
    static char paths[4][256];
    static int turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static int entries(void)
{
    int count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *entry; (entry = readdir(dir));)
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count;
}

static void what_is_written_is_read_and_mapped(void **state)
{
    (void)state;
    struct error err = {0};
    const char *path = in_folder("whole");
    char *text = NULL;
    size_t size = 0;
    struct file_map map;
    assert_int_equal(file_write(path, "first", 5, &err), OK);
    assert_int_equal(file_write(path, "a\0b", 3, &err), OK); // replaces
    assert_int_equal(file_read(path, 3, &text, &size, &err), OK);
    assert_int_equal(size, 3);
    assert_memory_equal(text, "a\0b", 4); // and the NUL added
    free(text);
    assert_int_equal(file_map(path, &map, &err), OK);
    assert_int_equal(map.size_bytes, 3);
    assert_memory_equal(map.data, "a\0b", 3);
    file_unmap(&map);
    assert_null(map.data);
    assert_int_equal(entries(), 1); // no temporary file is left
}

static void an_empty_file_maps_to_nothing(void **state)
{
    (void)state;
    struct error err = {0};
    struct file_map map;
    char *text = NULL;
    assert_int_equal(file_write(in_folder("empty"), "", 0, &err), OK);
    assert_int_equal(file_map(in_folder("empty"), &map, &err), OK);
    assert_null(map.data);
    assert_int_equal(map.size_bytes, 0);
    file_unmap(&map);
    assert_int_equal(file_read(in_folder("empty"), 0, &text, NULL, &err), OK);
    assert_string_equal(text, "");
    free(text);
}

static void expect_refused(const char *path, enum status code, const char *reason)
{
    struct error err = {0};
    struct file_map map;
    char *text = NULL;
    assert_int_equal(file_map(path, &map, &err), code);
    assert_non_null(strstr(err.message, path));
    assert_non_null(strstr(err.message, reason));
    error_clear(&err);
    assert_int_equal(file_read(path, 1000, &text, NULL, &err), code);
    assert_non_null(strstr(err.message, reason));
    assert_null(text);
}

static void what_is_not_a_file_is_refused_with_its_name(void **state)
{
    (void)state;
    expect_refused(in_folder("missing"), ERR_IO, "No such file");
    expect_refused(folder, ERR_IO, "directory");
    assert_int_equal(mkfifo(in_folder("pipe"), 0600), 0);
    expect_refused(in_folder("pipe"), ERR_IO,
                   "not a regular file"); // and does not wait for a writer
}

static void a_file_larger_than_accepted_names_both_sizes(void **state)
{
    (void)state;
    struct error err = {0};
    char *text = NULL;
    assert_int_equal(file_write(in_folder("large"), "0123456789", 10, &err), OK);
    assert_int_equal(file_read(in_folder("large"), 9, &text, NULL, &err), ERR_FORMAT);
    assert_null(text);
    assert_non_null(strstr(err.message, "10 bytes"));
    assert_non_null(strstr(err.message, "at most 9"));
}

static void a_failed_write_leaves_nothing(void **state)
{
    (void)state;
    struct error err = {0};
    int before = entries();
    assert_int_equal(file_write(in_folder("no/such/folder"), "x", 1, &err), ERR_IO);
    error_clear(&err);
    assert_int_equal(mkdir(in_folder("taken"), 0700), 0); // a folder cannot be renamed over
    assert_int_equal(file_write(in_folder("taken"), "x", 1, &err), ERR_IO);
    assert_non_null(strstr(err.message, "taken"));
    assert_int_equal(entries(), before + 1);
}

// A rename before the data is on the disk would trade the old file for nothing.
static void a_failed_sync_keeps_the_old_file(void **state)
{
    (void)state;
    struct error err = {0};
    const char *path = in_folder("synced");
    char *text = NULL;
    assert_int_equal(file_write(path, "old", 3, &err), OK);
    int before = entries(), synced = disk_syncs;
    broken_disk = true;
    assert_int_equal(file_write(path, "new", 3, &err), ERR_IO);
    broken_disk = false;
    assert_int_equal(disk_syncs, synced + 1);
    assert_non_null(strstr(err.message, strerror(EIO)));
    assert_non_null(strstr(err.message, path));
    error_clear(&err);
    assert_int_equal(file_read(path, 3, &text, NULL, &err), OK);
    assert_string_equal(text, "old");
    assert_int_equal(entries(), before);
    free(text);
}

static void a_file_of_another_program_is_synced(void **state)
{
    (void)state;
    struct error err = {0};
    const char *path = in_folder("drawn");
    assert_int_equal(file_write(path, "x", 1, &err), OK);
    int synced = disk_syncs;
    assert_int_equal(file_sync(path, &err), OK);
    assert_int_equal(disk_syncs, synced + 1);
    broken_disk = true;
    assert_int_equal(file_sync(path, &err), ERR_IO);
    broken_disk = false;
    assert_non_null(strstr(err.message, strerror(EIO)));
    assert_non_null(strstr(err.message, path));
    error_clear(&err);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(file_sync(path, &err), ERR_IO);
    assert_non_null(strstr(err.message, strerror(ENOENT)));
}

static void one_file_has_many_paths(void **state)
{
    (void)state;
    char *here = strdup(in_folder("here")), *link = strdup(in_folder("link-to-here"));
    struct error err = {0};
    assert_int_equal(file_write(here, "x", 1, &err), OK);
    assert_int_equal(symlink(here, link), 0);
    assert_true(file_same(here, link));
    assert_true(file_same("nowhere", "nowhere"));
    assert_false(file_same(here, in_folder("other")));
    assert_false(file_same(NULL, here));
    assert_false(file_same(NULL, NULL));
    free(here);
    free(link);
}

static void a_full_disk_is_reported(void **state)
{
    (void)state;
    struct error err = {0};
    if (!file_exists("/dev/full"))
        skip();
    assert_int_equal(file_write("/dev/full", "x", 1, &err), ERR_IO);
    assert_non_null(strstr(err.message, "/dev/full"));
    assert_non_null(strstr(err.message, strerror(ENOSPC)));
}

// Someone who may write to the folder plants links under the names that this process could use.
static void temporary_names_cannot_be_guessed(void **state)
{
    (void)state;
    struct error err = {0};
    char planted[64], *text = NULL, *first, *second;
    const char *victim = in_folder("victim"), *path = in_folder("written");
    assert_int_equal(file_write(victim, "kept", 4, &err), OK);
    snprintf(planted, sizeof planted, "written.tmp-%ld", (long)getppid());
    assert_int_equal(symlink("victim", in_folder(planted)), 0);
    snprintf(planted, sizeof planted, "written.tmp-%ld", (long)getpid());
    assert_int_equal(symlink("victim", in_folder(planted)), 0);
    assert_int_equal(file_write(path, "mine", 4, &err), OK);
    assert_int_equal(file_read(victim, 4, &text, NULL, &err), OK);
    assert_string_equal(text, "kept");
    free(text);
    first = file_temporary_name(path, ".tmp-");
    second = file_temporary_name(path, ".tmp-");
    assert_string_not_equal(first, second);
    assert_int_equal(strlen(strrchr(first, '-')), 17);
    free(first);
    free(second);
    first = NULL;
    assert_int_equal(file_temporary_dir(path, ".tmp-", &first, &err), OK);
    assert_true(file_is_dir(first));
    file_sweep_beside(path, ".tmp-"); // this process's, as in containers
    assert_false(file_exists(first));
    free(first);
    snprintf(planted, sizeof planted, "written.tmp-%ld", (long)getppid());
    assert_int_equal(remove(in_folder(planted)), 0);
}

static void an_unnamed_file_is_in_tmpdir(void **state)
{
    (void)state;
    struct error err = {0};
    char got[8] = "";
    int fd = -1, before = entries();
    setenv("TMPDIR", folder, 1);
    assert_int_equal(file_unnamed("a job", 5, &fd, &err), OK);
    assert_int_equal(read(fd, got, sizeof got), 5);
    assert_string_equal(got, "a job");
    close(fd);
    assert_int_equal(entries(), before);
    setenv("TMPDIR", in_folder("nowhere"), 1);
    assert_int_equal(file_unnamed("a job", 5, &fd, &err), ERR_IO);
    assert_non_null(strstr(err.message, "a temporary file in TMPDIR: "));
    assert_non_null(strstr(err.message, "/nowhere: cannot be written: No such file"));
    unsetenv("TMPDIR");
}

// What is no file is written as it comes, and what a link points to is replaced, not the link.
static void pipes_and_links_stay_what_they_are(void **state)
{
    (void)state;
    struct error err = {0};
    struct stat info;
    char got[8] = "", *text = NULL;
    const char *pipe = in_folder("written-pipe"), *link = in_folder("written-link"),
               *file = in_folder("behind");
    assert_int_equal(mkfifo(pipe, 0600), 0);
    int fd = open(pipe, O_RDWR); // so that nobody waits for the other end
    assert_true(fd >= 0);
    assert_int_equal(file_write(pipe, "through", 7, &err), OK);
    assert_int_equal(read(fd, got, sizeof got), 7);
    assert_memory_equal(got, "through", 7);
    close(fd);
    assert_true(stat(pipe, &info) == 0 && S_ISFIFO(info.st_mode));
    assert_int_equal(file_write(file, "old", 3, &err), OK);
    assert_int_equal(symlink("behind", link), 0);
    int before = entries();
    assert_int_equal(file_write(link, "new", 3, &err), OK);
    assert_true(lstat(link, &info) == 0 && S_ISLNK(info.st_mode));
    assert_int_equal(file_read(file, 3, &text, NULL, &err), OK);
    assert_string_equal(text, "new");
    assert_int_equal(entries(), before);
    free(text);
}

// Pieces small and large, in their order; nothing under the file's name before the end.
static void a_file_written_in_pieces(void **state)
{
    (void)state;
    struct error err = {0};
    struct file_writer *w;
    const char *path = in_folder("pieces");
    int before = entries();
    static char large[200000];
    memset(large, 'x', sizeof large);
    assert_int_equal(file_writer_open(path, &w, &err), OK);
    assert_int_equal(file_writer_put(w, "ab", 2, &err), OK);
    assert_int_equal(file_writer_put(w, large, sizeof large, &err), OK);
    assert_int_equal(file_writer_put(w, NULL, 0, &err), OK);
    for (int i = 0; i < 70000; i++)
        assert_int_equal(file_writer_put(w, "yz", 2, &err), OK);
    assert_false(file_exists(path));
    assert_int_equal(file_writer_finish(w, &err), OK);
    char *text;
    size_t count;
    assert_int_equal(file_read(path, 1 << 20, &text, &count, &err), OK);
    assert_int_equal(count, 2 + sizeof large + 140000);
    assert_memory_equal(text, "abx", 3);
    assert_memory_equal(text + 2 + sizeof large - 1, "xyz", 3);
    assert_memory_equal(text + count - 2, "yz", 2);
    free(text);
    assert_int_equal(file_writer_open(path, &w, &err), OK);
    assert_int_equal(file_writer_put(w, "new", 3, &err), OK);
    file_writer_abandon(w);
    assert_int_equal(file_read(path, 1 << 20, &text, &count, &err), OK);
    assert_int_equal(count, 2 + sizeof large + 140000); // as it was
    free(text);
    assert_int_equal(entries(), before + 1);
    assert_int_equal(file_writer_open("", &w, &err), ERR_USAGE);
    assert_null(w);
    error_clear(&err);
    assert_int_equal(file_writer_open(in_folder("none/x"), &w, &err), ERR_IO);
    assert_null(w);
    file_writer_abandon(NULL);
}

static void folders_are_made_with_their_parents(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(file_make_dirs(in_folder("a/b//c/"), &err), OK);
    assert_true(file_is_dir(in_folder("a/b/c")));
    assert_int_equal(file_make_dirs(in_folder("a/b/c"), &err), OK);
    assert_int_equal(file_write(in_folder("file"), "", 0, &err), OK);
    assert_int_equal(file_make_dirs(in_folder("file/below"), &err), ERR_IO);
    assert_non_null(strstr(err.message, "file"));
    assert_true(file_exists(in_folder("file")));
    assert_false(file_is_dir(in_folder("file")));
    assert_false(file_exists(in_folder("file/below")));
    rmdir(in_folder("a/b/c"));
    rmdir(in_folder("a/b"));
}

// The reason is mkdir's, not that of a later look: no one may make a folder in /sys.
static void a_folder_that_cannot_be_made_says_why(void **state)
{
    (void)state;
    struct error err = {0};
    if (!file_is_dir("/sys/kernel"))
        skip();
    assert_int_equal(file_make_dirs("/sys/ridge-test/below", &err), ERR_IO);
    assert_non_null(strstr(err.message, "/sys/ridge-test: folder cannot be made"));
    assert_null(strstr(err.message, strerror(ENOENT)));
}

static void private_folders_are_the_users_own(void **state)
{
    (void)state;
    struct error err = {0};
    struct stat info;
    mode_t before = umask(0);
    assert_int_equal(file_make_private_dirs(in_folder("own/deep"), &err), OK);
    assert_int_equal(stat(in_folder("own"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    assert_int_equal(stat(in_folder("own/deep"), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0700);
    umask(before);
    assert_int_equal(file_remove_tree(in_folder("own"), &err), OK);
}

// Neither a file nor a folder is made through a link to nothing, and the link stays.
static void a_link_to_nothing_is_refused(void **state)
{
    (void)state;
    struct error err = {0};
    const char *link = in_folder("dangling"), *below = in_folder("dangling/below");
    assert_int_equal(symlink("nowhere", link), 0);
    assert_int_equal(file_write(link, "new", 3, &err), ERR_IO);
    assert_non_null(strstr(err.message, "/dangling: a link to nowhere, which does not exist"));
    error_clear(&err);
    assert_int_equal(file_make_dirs(below, &err), ERR_IO);
    assert_non_null(strstr(err.message, "/dangling: a link to nowhere, which does not exist"));
    error_clear(&err);
    assert_false(file_exists(link) || file_exists(in_folder("nowhere")));
    assert_int_equal(unlink(link), 0); // it was kept
    assert_int_equal(file_refuse_dangling(link, &err), OK);
    assert_int_equal(file_refuse_dangling(in_folder("."), &err), OK);
}

static void a_tree_is_removed_and_what_it_links_to_is_kept(void **state)
{
    (void)state;
    struct error err = {0};
    char target[128];
    assert_int_equal(file_make_dirs(in_folder("tree/deep/deeper"), &err), OK);
    assert_int_equal(file_write(in_folder("tree/deep/file"), "x", 1, &err), OK);
    snprintf(target, sizeof target, "%s", in_folder("kept"));
    assert_int_equal(file_write(target, "x", 1, &err), OK);
    assert_int_equal(symlink(target, in_folder("tree/link")), 0);
    assert_int_equal(file_remove_tree(in_folder("tree"), &err), OK);
    assert_false(file_exists(in_folder("tree")));
    assert_true(file_exists(target));
    assert_int_equal(file_remove_tree(in_folder("tree"), &err), OK);
    assert_int_equal(err.code, OK);
    remove(target);
}

// A place in the folder for each kind of name; whether it is still there after the sweep.
static void check_sweep(const char *name, const char *stem, bool kept)
{
    struct error err = {0};
    char path[256];
    snprintf(path, sizeof path, "%s", in_folder(name));
    assert_int_equal(file_write(path, "x", 1, &err), OK);
    if (stem)
        file_sweep_beside(in_folder(stem), ".tmp-");
    else
        file_sweep(folder, NULL, ".tmp-");
    if (file_exists(path) != kept)
        fail_msg("%s, swept for %s: %s", name, stem ? stem : "any", kept ? "is gone" : "is kept");
    remove(path);
}

static void what_killed_processes_left_is_swept(void **state)
{
    (void)state;
    struct error err = {0};
    long gone = (long)gone_pid();
    static const struct {
        const char *name; // with the number, once or twice
        const char *stem;
        bool kept;
    } cases[] = {
        {"out.tmp-%ld", "out", false},
        {"out.tmp-%ld.tmp-%ld", "out", false},
        {"out.tmp-%ld", NULL, false},
        {"out.tmp-%ld-0123456789abcdef", "out", false},
        {"out.tmp-%ld-0123456789abcdef.tmp-%ld-fedcba9876543210", "out", false},
        {"out.tmp-%ld-0123456789abcde", "out", true},
        {"out.tmp-%ld-0123456789abcdeg", "out", true},
        {"other.tmp-%ld", "out", true},
        {"about.tmp-%ld", "out", true},
        {"out.tmp-%ld.tmp-1", "out", true},
        {"out.tmp-%ldx", "out", true},
        {"out.tmp-0%ld", "out", true},
        {"out.tmp-99999999999%ld", "out", true},
        {"out.tmp-x%ld", "out", true},
        {"out.new-%ld", "out", true},
        {"out.tmp-1.tmp-%ld", "out.tmp-1", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char name[128];
        snprintf(name, sizeof name, cases[i].name, gone, gone);
        check_sweep(name, cases[i].stem, cases[i].kept);
    }
    char living[64];
    snprintf(living, sizeof living, "out.tmp-%ld", (long)getppid());
    check_sweep(living, "out", true);
    snprintf(living, sizeof living, "out.tmp-%ld", (long)getpid()); // an earlier one's
    check_sweep(living, "out", false);
    snprintf(living, sizeof living, "out.tmp-%ld/deep", gone); // a folder goes with what is in it
    assert_int_equal(file_make_dirs(in_folder(living), &err), OK);
    check_sweep("out.tmp-1", "out", true);
    assert_false(file_exists(in_folder(living)));
    file_sweep(in_folder("no such folder"), NULL, ".tmp-");
}

static void join_puts_one_slash(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"a", "b", "a/b"}, {"a/", "b", "a/b"}, {"/", "b", "/b"}, {"", "b", "b"}};
    for (size_t i = 0; i < 4; i++) {
        char *path = file_join(cases[i][0], cases[i][1]);
        assert_string_equal(path, cases[i][2]);
        free(path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read_and_mapped),
        cmocka_unit_test(an_empty_file_maps_to_nothing),
        cmocka_unit_test(what_is_not_a_file_is_refused_with_its_name),
        cmocka_unit_test(a_file_larger_than_accepted_names_both_sizes),
        cmocka_unit_test(a_failed_write_leaves_nothing),
        cmocka_unit_test(a_failed_sync_keeps_the_old_file),
        cmocka_unit_test(a_file_of_another_program_is_synced),
        cmocka_unit_test(one_file_has_many_paths),
        cmocka_unit_test(a_full_disk_is_reported),
        cmocka_unit_test(temporary_names_cannot_be_guessed),
        cmocka_unit_test(an_unnamed_file_is_in_tmpdir),
        cmocka_unit_test(pipes_and_links_stay_what_they_are),
        cmocka_unit_test(a_file_written_in_pieces),
        cmocka_unit_test(folders_are_made_with_their_parents),
        cmocka_unit_test(a_folder_that_cannot_be_made_says_why),
        cmocka_unit_test(private_folders_are_the_users_own),
        cmocka_unit_test(a_link_to_nothing_is_refused),
        cmocka_unit_test(a_tree_is_removed_and_what_it_links_to_is_kept),
        cmocka_unit_test(what_killed_processes_left_is_swept),
        cmocka_unit_test(join_puts_one_slash),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
