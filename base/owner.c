// owner.c - a process as JSON and back.
#include "base/owner.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

char *owner_self(void)
{
    struct os_process self;
    os_process_find(getpid(), &self);
    json_t *object = json_pack("{s:I, s:I, s:s, s:s}", "pid", (json_int_t)self.pid, "started",
                               (json_int_t)self.started, "boot", self.boot, "host", self.host);
    char *text = object ? json_dumps(object, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(object);
    return text;
}

static void copy_text(const json_t *object, const char *key, char *out, size_t out_bytes)
{
    const char *text = json_string_value(json_object_get(object, key));
    snprintf(out, out_bytes, "%s", text ? text : "");
}

static void read_owner(const char *json, struct os_process *out)
{
    *out = (struct os_process){.started = OS_UNKNOWN};
    json_t *object = json ? json_loads(json, 0, NULL) : NULL;
    if (json_is_integer(json_object_get(object, "started")))
        out->started = json_integer_value(json_object_get(object, "started"));
    out->pid = json_integer_value(json_object_get(object, "pid"));
    copy_text(object, "boot", out->boot, sizeof out->boot);
    copy_text(object, "host", out->host, sizeof out->host);
    json_decref(object);
}

enum owner_state owner_find(const char *json, struct os_process *out)
{
    struct os_process here;
    read_owner(json, out);
    if (out->pid <= 0 || out->started == OS_UNKNOWN)
        return OWNER_GONE;
    bool running = os_process_find(out->pid, &here);
    if (here.boot[0] && str_equal(here.boot, out->boot))
        return running && here.started == out->started ? OWNER_RUNS : OWNER_GONE;
    // "BOOT NAMESPACE": a reboot of this host ends all its processes; another namespace hides them.
    size_t boot = strcspn(here.boot, " ");
    bool same_boot =
        boot > 0 && strcspn(out->boot, " ") == boot && strncmp(here.boot, out->boot, boot) == 0;
    return !same_boot && str_equal(here.host, out->host) ? OWNER_GONE : OWNER_UNSEEN;
}
