#ifndef UNRDF_HTTP_H
#define UNRDF_HTTP_H

#include "postgres.h"

#include "lib/stringinfo.h"

/* What a server answered. */
typedef struct UnrdfHttpAnswer
{
	long status;
	StringInfoData body; /* at most UNRDF_HTTP_ANSWER_MAX bytes */
} UnrdfHttpAnswer;

#define UNRDF_HTTP_ANSWER_MAX 1048576

extern const char *UnrdfHttpPost(const char *url, const char *type, const char *body, int len,
								 int timeout_ms, UnrdfHttpAnswer *answer);

#endif /* UNRDF_HTTP_H */
