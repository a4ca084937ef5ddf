// test_owner.c - whose a record is: this process, one that ended, one of another boot or container.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/owner.h"
#include "tests/pid.h"

static enum owner_state state_of(int64_t pid, int64_t started, const char *boot, const char *host)
{
    char json[512];
    struct os_process out;
    snprintf(json, sizeof json, "{\"pid\":%lld,\"started\":%lld,\"boot\":\"%s\",\"host\":\"%s\"}",
             (long long)pid, (long long)started, boot, host);
    enum owner_state state = owner_find(json, &out);
    assert_int_equal(out.pid, pid);
    assert_string_equal(out.host, host);
    return state;
}

static void this_process_runs(void **state)
{
    (void)state;
    struct os_process out;
    char *json = owner_self();
    assert_non_null(json);
    assert_int_equal(owner_find(json, &out), OWNER_RUNS);
    assert_int_equal(out.pid, getpid());
    free(json);
}

static void a_number_alone_is_not_a_process(void **state)
{
    (void)state;
    struct os_process self;
    assert_true(os_process_find(getpid(), &self));
    assert_int_equal(state_of(self.pid, self.started, self.boot, self.host), OWNER_RUNS);
    assert_int_equal(state_of(self.pid, self.started + 1, self.boot, self.host), OWNER_GONE);
    assert_int_equal(state_of(gone_pid(), self.started, self.boot, self.host), OWNER_GONE);
    assert_int_equal(state_of(self.pid, self.started, self.boot, "renamed"), OWNER_RUNS);
}

static void another_boot_of_this_host_is_over(void **state)
{
    (void)state;
    struct os_process self;
    assert_true(os_process_find(getpid(), &self));
    assert_int_equal(state_of(self.pid, self.started, "another boot", self.host), OWNER_GONE);
    assert_int_equal(state_of(self.pid, self.started, "another boot", "elsewhere"), OWNER_UNSEEN);
    char container[192];
    snprintf(container, sizeof container, "%.*s pid:[1]", (int)strcspn(self.boot, " "), self.boot);
    assert_int_equal(state_of(self.pid, self.started, container, self.host), OWNER_UNSEEN);
    assert_int_equal(state_of(self.pid, self.started, container, "elsewhere"), OWNER_UNSEEN);
}

static void no_owner_is_gone(void **state)
{
    (void)state;
    struct os_process out;
    static const char *const nobody[] = {NULL, "", "{}", "[]", "{\"pid\":\"x\"}", "{\"pid\":1}"};
    for (size_t i = 0; i < sizeof nobody / sizeof *nobody; i++)
        assert_int_equal(owner_find(nobody[i], &out), OWNER_GONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(this_process_runs),
        cmocka_unit_test(a_number_alone_is_not_a_process),
        cmocka_unit_test(another_boot_of_this_host_is_over),
        cmocka_unit_test(no_owner_is_gone),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
