// test_record.c - which stored runs are of this machine: the rule --resume and the ceilings' lookup share.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>

#include "base/json.h"
#include "bench/probe/probe.h"
#include "bench/run/record.h"

// This machine's record with another size of memory, as text the caller frees.
static char *grown(const struct machine *machine)
{
    json_t *hardware = json_deep_copy(machine->hardware);
    json_object_set_new(hardware, "memory_gib", json_integer(4711));
    char *text = json_canonical(hardware);
    json_decref(hardware);
    assert_non_null(text);
    return text;
}

// Runs from before schema 4 carry a hash of the whole record: theirs is recomputed from the record.
static void older_fingerprints_are_known(void **state)
{
    (void)state;
    struct machine machine;
    struct error err = {0};
    assert_int_equal(machine_probe(&machine, &err), OK);
    char *hardware = grown(&machine);
    struct run_row run = {.fingerprint = "of another rule", .hardware = hardware};
    assert_true(record_same_machine(&run, machine.fingerprint));
    run.hardware = "{}";
    assert_false(record_same_machine(&run, machine.fingerprint));
    run.fingerprint = machine.fingerprint;
    assert_true(record_same_machine(&run, machine.fingerprint));
    run = (struct run_row){.fingerprint = "x", .hardware = "not JSON"};
    assert_false(record_same_machine(&run, machine.fingerprint));
    free(hardware);
    machine_fini(&machine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(older_fingerprints_are_known)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
