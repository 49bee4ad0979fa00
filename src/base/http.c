/*
 * http.c: requests to servers outside, by libcurl.
 *
 * Mostly for worker processes that are in no transaction: a server may take all the time it is given to answer. Waiting is done
 * on our latch beside curl's sockets, so interrupts are handled. curl may resolve names in a thread of its own: signals are
 * blocked wherever it could start one, since a handler of ours must not run there.
 */
#include "postgres.h"

#include <curl/curl.h>
#include <signal.h>

#include "libpq/pqsignal.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "storage/latch.h"

#include "base/compat.h"
#include "base/http.h"

#define MOST_SOCKETS 8

/* One request. */
typedef struct Request
{
	CURLM *multi;
	CURL *easy;
	struct curl_slist *headers;
	char error[CURL_ERROR_SIZE];
} Request;

/* Takes a part of the body; less than n stops the transfer. */
static size_t
take(char *data, size_t size, size_t n, void *arg)
{
	StringInfo body = arg;

	if (body->len + n > UNRDF_HTTP_ANSWER_MAX)
		return 0;
	appendBinaryStringInfo(body, data, (int) n);
	return n;
}

/* Adds curl's sockets to a set. */
static void
add_sockets(CURLM *multi, WaitEventSet *set)
{
	fd_set readable;
	fd_set writable;
	fd_set failed;
	int most = -1;
	int n = 0;

	FD_ZERO(&readable);
	FD_ZERO(&writable);
	FD_ZERO(&failed);
	(void) curl_multi_fdset(multi, &readable, &writable, &failed, &most);
	for (int fd = 0; fd <= most && n < MOST_SOCKETS; fd++)
	{
		uint32 events = (FD_ISSET(fd, &readable) ? WL_SOCKET_READABLE : 0) |
						(FD_ISSET(fd, &writable) ? WL_SOCKET_WRITEABLE : 0);

		if (events != 0 && ++n)
			AddWaitEventToSet(set, events, fd, NULL, NULL);
	}
}

/* Waits until curl has something to do, or an interrupt has come. */
static void
wait_for_curl(CURLM *multi)
{
	WaitEventSet *set = unrdf_create_wait_event_set(MOST_SOCKETS + 2);
	WaitEvent event;
	long ms = -1;

	(void) curl_multi_timeout(multi, &ms);
	if (ms < 0 || ms > 100)
		ms = 100; /* a thread that resolves a name has no socket in every version */
	AddWaitEventToSet(set, WL_LATCH_SET, PGINVALID_SOCKET, MyLatch, NULL);
	AddWaitEventToSet(set, WL_EXIT_ON_PM_DEATH, PGINVALID_SOCKET, NULL, NULL);
	add_sockets(multi, set);
	if (WaitEventSetWait(set, ms, &event, 1, unrdf_wait_event("UnrdfHttp")) == 1 &&
		(event.events & WL_LATCH_SET))
		ResetLatch(MyLatch);
	FreeWaitEventSet(set);
	CHECK_FOR_INTERRUPTS();
}

/* Runs a request to its end. */
static CURLcode
run(Request *r)
{
	int running = 1;
	int left;
	CURLMsg *message;

	while (running > 0)
	{
		CURLMcode code;

		sigprocmask(SIG_SETMASK, &BlockSig, NULL);
		code = curl_multi_perform(r->multi, &running);
		sigprocmask(SIG_SETMASK, &UnBlockSig, NULL);
		if (code != CURLM_OK)
			return CURLE_OUT_OF_MEMORY;
		if (running > 0)
			wait_for_curl(r->multi);
	}
	message = curl_multi_info_read(r->multi, &left);
	return message && message->msg == CURLMSG_DONE ? message->data.result : CURLE_GOT_NOTHING;
}

/* Sets a request up: no proxy, no other host, no other protocol than was asked for. */
static bool
prepare(Request *r, const char *url, const char *type, const char *body, int len, int timeout_ms,
		StringInfo out)
{
	char *header = psprintf("Content-Type: %s", type);
	bool set = true;

	r->multi = curl_multi_init();
	r->easy = curl_easy_init();
	r->headers = curl_slist_append(NULL, header);
	if (r->multi == NULL || r->easy == NULL || r->headers == NULL)
		return false;
#define SET(option, value) set = set && curl_easy_setopt(r->easy, (option), (value)) == CURLE_OK
	SET(CURLOPT_URL, url);
	SET(CURLOPT_PROTOCOLS_STR, "http,https");
	SET(CURLOPT_FOLLOWLOCATION, 0L);
	SET(CURLOPT_PROXY, "");
	SET(CURLOPT_NOSIGNAL, 1L);
	SET(CURLOPT_USERAGENT, "unrdf");
	SET(CURLOPT_HTTPHEADER, r->headers);
	SET(CURLOPT_POST, 1L);
	SET(CURLOPT_POSTFIELDS, body);
	SET(CURLOPT_POSTFIELDSIZE, (long) len);
	SET(CURLOPT_TIMEOUT_MS, (long) timeout_ms);
	SET(CURLOPT_CONNECTTIMEOUT_MS, (long) timeout_ms);
	SET(CURLOPT_WRITEFUNCTION, take);
	SET(CURLOPT_WRITEDATA, out);
	SET(CURLOPT_ERRORBUFFER, r->error);
#undef SET
	return set && curl_multi_add_handle(r->multi, r->easy) == CURLM_OK;
}

static void
finish(Request *r)
{
	if (r->multi && r->easy)
		(void) curl_multi_remove_handle(r->multi, r->easy);
	curl_easy_cleanup(r->easy);
	if (r->multi)
		(void) curl_multi_cleanup(r->multi);
	curl_slist_free_all(r->headers);
}

/* Makes the request. Returns why there is no answer, palloc'd, or NULL. */
static const char *
transfer(Request *r, const char *url, const char *type, const char *body, int len, int timeout_ms,
		 UnrdfHttpAnswer *answer)
{
	CURLcode code = CURLE_FAILED_INIT;

	if (prepare(r, url, type, body, len, timeout_ms, &answer->body))
		code = run(r);
	if (code != CURLE_OK)
		return pstrdup(*r->error ? r->error : curl_easy_strerror(code));
	(void) curl_easy_getinfo(r->easy, CURLINFO_RESPONSE_CODE, &answer->status);
	return NULL;
}

/*
 * UnrdfHttpPost posts a body of a media type and waits for the answer, whatever its status, for at most timeout_ms.
 * Returns why there is none, palloc'd, or NULL. TLS certificates are checked against the system's authorities. Raises
 * nothing but what an interrupt does.
 */
const char *
UnrdfHttpPost(const char *url, const char *type, const char *body, int len, int timeout_ms,
			  UnrdfHttpAnswer *answer)
{
	Request r = {0};
	const char *volatile reason = NULL;

	initStringInfo(&answer->body);
	if (!AcquireExternalFD())
		return "too many files are open";
	PG_TRY();
	{
		reason = transfer(&r, url, type, body, len, timeout_ms, answer);
	}
	PG_FINALLY();
	{
		finish(&r);
		ReleaseExternalFD();
	}
	PG_END_TRY();
	return reason;
}
