// record.c - a JSON object under construction: what a machine does not tell is null, not left out.
#include <math.h>
#include <stdlib.h>

#include "base/os.h"
#include "bench/probe/source.h"

struct record record_begin(void)
{
    json_t *object = json_object();
    return (struct record){.object = object, .failed = !object};
}

void record_set(struct record *record, const char *key, json_t *value)
{
    if (json_object_set_new(record->object, key, value) != 0) // refuses a NULL value or object
        record->failed = true;
}

void record_text(struct record *record, const char *key, const char *value)
{
    json_t *text = value && *value ? json_string(value) : NULL; // NULL: not UTF-8
    record_set(record, key, text ? text : json_null());
}

void record_int(struct record *record, const char *key, int64_t value)
{
    record_set(record, key, value == OS_UNKNOWN ? json_null() : json_integer(value));
}

void record_number_text(struct record *record, const char *key, const char *digits)
{
    char *end = NULL;
    double value = digits ? strtod(digits, &end) : NAN;
    if (!digits || end == digits || !isfinite(value))
        record_set(record, key, json_null());
    else if (value == floor(value) && fabs(value) < 9e15)
        record_set(record, key, json_integer((json_int_t)value));
    else
        record_set(record, key, json_real(value));
}

void record_end(struct record *parent, const char *key, struct record *child)
{
    parent->failed |= child->failed;
    record_set(parent, key, child->object);
    child->object = NULL;
}
