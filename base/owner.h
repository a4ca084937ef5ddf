// owner.h - the process that a record in a file belongs to, and whether it still runs.
//
// Process numbers are reused. A number is unique together with the start time and the boot of the machine. The number
// of a process in another container means nothing here.
#ifndef BASE_OWNER_H
#define BASE_OWNER_H

#include "base/os.h"

// This process: {"boot": "...", "host": "...", "pid": 123, "started": 456}. Caller frees; NULL when memory is
// exhausted.
char *owner_self(void);

enum owner_state {
    OWNER_GONE,   // it has ended, or its machine was rebooted; also if json is NULL
    OWNER_RUNS,   // it runs
    OWNER_UNSEEN, // it belongs to another machine or container: cannot be known here
};
// json: the text of owner_self, from any process. out: its fields; missing ones are zero.
enum owner_state owner_find(const char *json, struct os_process *out);

#endif
