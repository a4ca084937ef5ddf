// home.h - where the program's own files are: suites, shapes, the reference model, report templates.
#ifndef BASE_HOME_H
#define BASE_HOME_H

// The path of "suites/m1.conf", "models/shapes/llama-2-7b.json", ...: PREFIX/share/ridge/ of an installed
// program, else the source tree the program was built in. The working directory does not matter.
// A new string the caller frees; NULL when there is no such file or folder.
char *home_find(const char *relative);

#endif
