// gains.h - what would make a cell faster, and by how much as its roof predicts.
#ifndef REPORT_GAINS_H
#define REPORT_GAINS_H

#include "report/profile.h"

// Fills the gains of a profile whose phases are complete. Errors: ERR_NOMEM.
enum status report_gains(struct profile *p, struct error *err);

#endif
