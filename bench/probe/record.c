// record.c - builds a JSON object. A value that a machine does not report is null, not missing.
#include <math.h>
#include <stdlib.h>

#include "base/os.h"
#include "bench/probe/source.h"

struct record machine_record_begin(void)
{
    json_t *object = json_object();
    return (struct record){.object = object, .failed = !object};
}

void machine_record_set(struct record *record, const char *key, json_t *value)
{
    if (json_object_set_new(record->object, key, value) != 0) // fails for a NULL value or object
        record->failed = true;
}

void machine_record_text(struct record *record, const char *key, const char *value)
{
    json_t *text = value && *value ? json_string(value) : NULL; // NULL: not UTF-8
    machine_record_set(record, key, text ? text : json_null());
}

void machine_record_int(struct record *record, const char *key, int64_t value)
{
    machine_record_set(record, key, value == OS_UNKNOWN ? json_null() : json_integer(value));
}

void machine_record_number_text(struct record *record, const char *key, const char *digits)
{
    char *end = NULL;
    double value = digits ? strtod(digits, &end) : NAN;
    if (!digits || end == digits || !isfinite(value))
        machine_record_set(record, key, json_null());
    else if (value == floor(value) && fabs(value) < 9e15)
        machine_record_set(record, key, json_integer((json_int_t)value));
    else
        machine_record_set(record, key, json_real(value));
}

void machine_record_end(struct record *parent, const char *key, struct record *child)
{
    parent->failed |= child->failed;
    machine_record_set(parent, key, child->object);
    child->object = NULL;
}
