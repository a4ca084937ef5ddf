// whole.h - whether a file that another program wrote is complete.
#ifndef REPORT_WHOLE_H
#define REPORT_WHOLE_H

#include "base/status.h"

// dir/name.svg begins as XML and ends with the closing tag; dir/name.png has the signature and ends with the
// chunk IEND (PNG specification, 5.2 and 11.2.5). An exit status of 0 proves neither: gnuplot does not
// notice a full disk. A whole picture is synced, as other files are before their rename. ERR_IO names the file and
// what it lacks.
enum status picture_svg_check(const char *dir, const char *name, struct error *err);
enum status picture_png_check(const char *dir, const char *name, struct error *err);

#endif
