#ifndef UNRDF_FILE_H
#define UNRDF_FILE_H

#include "postgres.h"

#include <sys/stat.h>

extern const char *UnrdfFileReplace(const char *path, const char *bytes, size_t len, mode_t mode);

#endif /* UNRDF_FILE_H */
