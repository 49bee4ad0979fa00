/*
 * settings.c: what operators set of a queue, and what follows from it for a job: its group, whose share it is, its flow.
 *
 * A setting is a column of unrdf.queue_state, and a key of what unrdf.alter_queue takes; the weights of shares are rows of
 * unrdf.share, and for how long jobs are kept is a rule (retention.c). A job's group and flow are computed once, when it is enqueued,
 * and are part of its row: a setting that changes later does not move jobs between groups, while limits and weights hold for all
 * jobs at once.
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/memutils.h"

#include "base/clock.h"
#include "base/plan.h"
#include "queue/config.h"
#include "queue/handler.h"

#define MOST_GROUP_KEY 1024 /* bytes */
#define MOST_CHOICES 3

/* A weight of the queue's shares. */
typedef struct ShareWeight
{
	uint64 id;
	int32 weight;
} ShareWeight;

struct UnrdfQueueRow
{
	UnrdfQueue settings;
	Datum group_by; /* jsonpath; 0: none */
	int nweights;
	ShareWeight *weights;
};

typedef enum SettingKind
{
	COUNT,  /* integer from 1 on */
	RATE,   /* number above 0 */
	PATH,   /* jsonpath */
	CHOICE, /* one of some words */
} SettingKind;

typedef struct Setting
{
	const char *name;
	SettingKind kind;
	int most;
	const char *choices[MOST_CHOICES];
} Setting;

/* In the order of the plans' columns. */
static const Setting settings_of_queue[] = {
	{"max_running", COUNT, PG_INT32_MAX},
	{"weight", COUNT, 1000},
	{"rate", RATE, 1000000},
	{"burst", COUNT, 1000000},
	{"group_by", PATH},
	{"group_max_running", COUNT, PG_INT32_MAX},
	{"group_rate", RATE, 1000000},
	{"group_burst", COUNT, 1000000},
	{"fifo", CHOICE, 0, {"wait", "skip"}},
	{"share_by", CHOICE, 0, {"owner", "tenant"}},
	{"max_depth", COUNT, PG_INT32_MAX},
	{"when_full", CHOICE, 0, {"reject", "wait", "warn"}},
};
enum
{
	MAX_RUNNING,
	WEIGHT,
	QUEUE_RATE,
	BURST,
	GROUP_BY,
	GROUP_MAX_RUNNING,
	GROUP_RATE,
	GROUP_BURST,
	FIFO,
	SHARE_BY,
	MAX_DEPTH,
	WHEN_FULL,
	SETTINGS
};

#define COLUMNS                                                                                \
	"max_running, weight, rate, burst, group_by, group_max_running, group_rate, group_burst, " \
	"fifo, share_by, max_depth, when_full"
static UnrdfPlan read_row = {
	"SELECT " COLUMNS
	", paused, retention FROM unrdf.queue_state WHERE queue OPERATOR(pg_catalog.=) $1",
	1,
	{INT4OID}};
static UnrdfPlan read_shares = {
	"SELECT name, weight FROM unrdf.share WHERE queue OPERATOR(pg_catalog.=) $1", 1, {INT4OID}};
static UnrdfPlan write_row = {
	"INSERT INTO unrdf.queue_state AS s (" COLUMNS ", queue, changed_by)"
	" VALUES ($1, coalesce($2, 1), $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)"
	" ON CONFLICT (queue) DO UPDATE SET (" COLUMNS ", changed_by, changed_at) ="
	" ROW(EXCLUDED.max_running, EXCLUDED.weight, EXCLUDED.rate, EXCLUDED.burst, EXCLUDED.group_by,"
	" EXCLUDED.group_max_running, EXCLUDED.group_rate, EXCLUDED.group_burst, EXCLUDED.fifo,"
	" EXCLUDED.share_by, EXCLUDED.max_depth, EXCLUDED.when_full, EXCLUDED.changed_by, pg_catalog.now())",
	14,
	{INT4OID, INT4OID, FLOAT8OID, INT4OID, TEXTOID, INT4OID, FLOAT8OID, INT4OID, TEXTOID, TEXTOID,
	 INT4OID, TEXTOID, INT4OID, REGROLEOID}};
static UnrdfPlan delete_shares = {
	"DELETE FROM unrdf.share WHERE queue OPERATOR(pg_catalog.=) $1", 1, {INT4OID}};
static UnrdfPlan insert_shares = {
	"INSERT INTO unrdf.share SELECT $1, e.key, e.value::int FROM pg_catalog.jsonb_each_text($2) AS e",
	2,
	{INT4OID, JSONBOID}};

static uint64
hash_name(const char *name, int len)
{
	return hash_bytes_extended((const unsigned char *) name, len, 0);
}

static Datum
parse_path(char *text)
{
	return DirectFunctionCall1(jsonpath_in, CStringGetDatum(text));
}

/* The id of a share by its name in unrdf.share; 0 for an owner that does not exist. */
static uint64
share_id(UnrdfShareBy by, text *name)
{
	if (by == UNRDF_SHARE_OWNER)
		return get_role_oid(text_to_cstring(name), true);
	return hash_name(VARDATA_ANY(name), VARSIZE_ANY_EXHDR(name));
}

static void
read_weights(UnrdfQueueRow *row, Datum *queue, MemoryContext context)
{
	bool isnull;
	uint64 n = UnrdfExecuteLatest(&read_shares, queue, NULL);

	row->nweights = (int) n;
	row->weights = MemoryContextAlloc(context, Max(1, n) * sizeof(ShareWeight));
	for (uint64 i = 0; i < n; i++)
	{
		row->weights[i].id =
			share_id(row->settings.share_by, DatumGetTextPP(UnrdfResult(i, 0, &isnull)));
		row->weights[i].weight = DatumGetInt32(UnrdfResult(i, 1, &isnull));
	}
}

static int32
int_result(int column)
{
	bool isnull;
	Datum value = UnrdfResult(0, column, &isnull);

	return isnull ? 0 : DatumGetInt32(value);
}

static UnrdfRate
rate_result(int rate, int burst)
{
	bool isnull;
	Datum value = UnrdfResult(0, rate, &isnull);
	UnrdfRate result = {0, 1};

	if (!isnull)
		result.per_second = DatumGetFloat8(value);
	if (int_result(burst) > 0)
		result.burst = int_result(burst);
	return result;
}

/* Which of a setting's words this is, from 1; 0: none. */
static int
choice_of(const Setting *setting, const char *word)
{
	for (int i = 0; i < MOST_CHOICES && setting->choices[i]; i++)
		if (strcmp(word, setting->choices[i]) == 0)
			return i + 1;
	return 0;
}

/* Which of a setting's words a column has, from 1; 0: it has none. */
static int
choice_result(int column)
{
	bool isnull;
	Datum value = UnrdfResult(0, column, &isnull);

	return isnull ? 0 : choice_of(&settings_of_queue[column], TextDatumGetCString(value));
}

/* UnrdfQueueRowRead reads a queue's settings; what it returns is in the context. */
UnrdfQueueRow *
UnrdfQueueRowRead(int32 id, MemoryContext context)
{
	UnrdfQueueRow *row = MemoryContextAllocZero(context, sizeof(UnrdfQueueRow));
	UnrdfQueue *s = &row->settings;
	Datum queue = Int32GetDatum(id);
	bool isnull;

	s->id = id;
	s->weight = 1;
	s->rate.burst = s->group_rate.burst = 1;
	SPI_connect();
	if (UnrdfExecuteLatest(&read_row, &queue, NULL) == 1)
	{
		Datum path = UnrdfResult(0, GROUP_BY, &isnull);

		if (!isnull)
		{
			MemoryContext old = MemoryContextSwitchTo(context);

			row->group_by = parse_path(TextDatumGetCString(path));
			MemoryContextSwitchTo(old);
		}
		s->max_running = int_result(MAX_RUNNING);
		s->weight = int_result(WEIGHT);
		s->rate = rate_result(QUEUE_RATE, BURST);
		s->group_max_running = int_result(GROUP_MAX_RUNNING);
		s->group_rate = rate_result(GROUP_RATE, GROUP_BURST);
		s->fifo = choice_result(FIFO);
		s->share_by = choice_result(SHARE_BY);
		s->max_depth = int_result(MAX_DEPTH);
		s->when_full = Max(UNRDF_FULL_REJECT, choice_result(WHEN_FULL));
		s->paused = DatumGetBool(UnrdfResult(0, SETTINGS, &isnull));
		s->retention = DatumGetInt64(UnrdfResult(0, SETTINGS + 1, &isnull));
		if (isnull)
			s->retention = 0;
		if (s->fifo != UNRDF_FIFO_NONE)
			s->group_max_running = 1;
		if (s->share_by != UNRDF_SHARE_NONE)
			read_weights(row, &queue, context);
	}
	SPI_finish();
	return row;
}

/* UnrdfQueueRowSettings returns what the dispatcher has to know. */
const UnrdfQueue *
UnrdfQueueRowSettings(const UnrdfQueueRow *row)
{
	return &row->settings;
}

static void
bad_setting(const char *name, const char *what)
{
	ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
					errmsg("setting \"%s\" must be %s", name, what)));
}

static double
number_setting(const Setting *setting, const JsonbValue *value)
{
	double number = 0;

	if (value->type == jbvNumeric)
		number = DatumGetFloat8(
			DirectFunctionCall1(numeric_float8, NumericGetDatum(value->val.numeric)));
	if (value->type != jbvNumeric || number <= 0 || number > setting->most ||
		(setting->kind == COUNT && number != (int) number))
		bad_setting(setting->name,
					psprintf("%s up to %d",
							 setting->kind == COUNT ? "a whole number from 1" : "a number above 0",
							 setting->most));
	return number;
}

static char *
text_setting(const Setting *setting, const JsonbValue *value)
{
	if (value->type != jbvString)
		bad_setting(setting->name, "a string");
	return pnstrdup(value->val.string.val, value->val.string.len);
}

/* "a", "b" or "c" */
static char *
words_of(const Setting *setting)
{
	StringInfoData words;

	initStringInfo(&words);
	for (int i = 0; i < MOST_CHOICES && setting->choices[i]; i++)
	{
		bool last = i + 1 == MOST_CHOICES || setting->choices[i + 1] == NULL;

		appendStringInfo(&words, "%s\"%s\"",
						 i == 0 ? ""
						 : last ? " or "
								: ", ",
						 setting->choices[i]);
	}
	return words.data;
}

/* A setting's value as its column has it. */
static Datum
setting_value(const Setting *setting, const JsonbValue *value)
{
	char *word;

	switch (setting->kind)
	{
		case COUNT:
			return Int32GetDatum((int32) number_setting(setting, value));
		case RATE:
			return Float8GetDatum(number_setting(setting, value));
		case PATH:
			return CStringGetTextDatum(DatumGetCString(
				DirectFunctionCall1(jsonpath_out, parse_path(text_setting(setting, value)))));
		case CHOICE:
			break;
	}
	word = text_setting(setting, value);
	if (choice_of(setting, word) == 0)
		bad_setting(setting->name, words_of(setting));
	return CStringGetTextDatum(word);
}

static void
check_shares(const JsonbValue *value)
{
	Setting weight = {"shares", COUNT, 1000};
	JsonbIterator *it;
	JsonbValue v;
	JsonbIteratorToken token;

	if (value->type == jbvNull)
		return;
	if (value->type != jbvBinary || !JsonContainerIsObject(value->val.binary.data))
		bad_setting("shares", "an object of names and weights");
	it = JsonbIteratorInit(value->val.binary.data);
	while ((token = JsonbIteratorNext(&it, &v, true)) != WJB_DONE)
		if (token == WJB_VALUE)
			(void) number_setting(&weight, &v);
}

static void
write_shares(int32 queue, const JsonbValue *value)
{
	Datum values[2] = {Int32GetDatum(queue)};

	check_shares(value);
	UnrdfExecute(&delete_shares, values, NULL, false);
	if (value->type == jbvNull)
		return;
	values[1] = JsonbPGetDatum(JsonbValueToJsonb(unconstify(JsonbValue *, value)));
	UnrdfExecute(&insert_shares, values, NULL, false);
}

/* The seconds of an interval, rounded up; -1 for null. */
static int64
keep_setting(const char *name, const JsonbValue *value)
{
	Setting keep = {name};
	Datum interval;
	int64 ms;

	if (value->type == jbvNull)
		return -1;
	interval = DirectFunctionCall3(interval_in, CStringGetDatum(text_setting(&keep, value)),
								   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
	ms = UnrdfIntervalMillis(DatumGetIntervalP(interval));
	if (ms < 0 || ms > UNRDF_KEPT_MOST * 1000)
		bad_setting(name, "between 0 and 1000 years");
	return (ms + 999) / 1000;
}

static bool
is_key(const JsonbValue *key, const char *name)
{
	return strlen(name) == key->val.string.len &&
		   memcmp(name, key->val.string.val, key->val.string.len) == 0;
}

static int
setting_index(const JsonbValue *key)
{
	for (int i = 0; i < SETTINGS; i++)
		if (is_key(key, settings_of_queue[i].name))
			return i;
	return -1;
}

static int
keep_index(const JsonbValue *key)
{
	for (int i = 0; i < UNRDF_KEEPS; i++)
		if (is_key(key, UnrdfKeepNames[i]))
			return i;
	return -1;
}

/* Changes the row's values, and the rule's, as the settings say; the shares are written at once. */
static void
apply(int32 queue, Jsonb *settings, Datum *values, char *nulls, UnrdfRetention *rule)
{
	JsonbIterator *it = JsonbIteratorInit(&settings->root);
	JsonbIteratorToken token;
	JsonbValue key;
	JsonbValue value;

	while ((token = JsonbIteratorNext(&it, &key, true)) != WJB_DONE)
	{
		int i;

		if (token != WJB_KEY)
			continue;
		(void) JsonbIteratorNext(&it, &value, true);
		i = setting_index(&key);
		if (i >= 0)
		{
			nulls[i] = value.type == jbvNull ? 'n' : ' ';
			values[i] = value.type == jbvNull ? 0 : setting_value(&settings_of_queue[i], &value);
		}
		else if (keep_index(&key) >= 0)
			rule->keep[keep_index(&key)] = keep_setting(UnrdfKeepNames[keep_index(&key)], &value);
		else if (is_key(&key, "shares"))
			write_shares(queue, &value);
		else
			ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
							errmsg("a queue has no setting \"%.*s\"", key.val.string.len,
								   key.val.string.val)));
	}
}

/* Settings that say nothing together, or contradict each other. */
static void
check_together(const char *nulls)
{
	if (nulls[QUEUE_RATE] == 'n' && nulls[BURST] != 'n')
		bad_setting("burst", "null where there is no rate");
	if (nulls[GROUP_RATE] == 'n' && nulls[GROUP_BURST] != 'n')
		bad_setting("group_burst", "null where there is no group_rate");
	if (nulls[FIFO] != 'n' && nulls[GROUP_MAX_RUNNING] != 'n')
		bad_setting("group_max_running",
					"null where fifo is set: a group runs one job at a time then");
	if (nulls[MAX_DEPTH] == 'n' && nulls[WHEN_FULL] != 'n')
		bad_setting("when_full", "null where there is no max_depth");
	if (nulls[FIFO] != 'n' && nulls[SHARE_BY] != 'n')
		bad_setting("share_by", "null where fifo is set: there is no order among shares");
}

/*
 * UnrdfAlterQueue changes a queue's settings, but for its rule of retention: true where it is to have another one, which the
 * caller gives it. Raises 42704 for an unknown queue, 22023 for what is no setting, or no value for it.
 */
bool
UnrdfAlterQueue(text *name, Jsonb *settings, int32 *queue_id, UnrdfRetention *rule)
{
	int32 id = UnrdfQueueId(name);
	UnrdfRetention old = {0, {-1, -1, -1}};
	Datum values[SETTINGS + 2] = {0};
	char nulls[SETTINGS + 3];
	Datum queue = Int32GetDatum(id);

	PreventCommandIfReadOnly("unrdf.alter_queue()");
	if (!JB_ROOT_IS_OBJECT(settings))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("settings must be an object")));
	memset(nulls, 'n', SETTINGS);
	memcpy(nulls + SETTINGS, "  ", 3);
	SPI_connect();
	if (UnrdfExecuteLatest(&read_row, &queue, NULL) == 1)
	{
		bool isnull;

		for (int i = 0; i < SETTINGS; i++)
		{
			values[i] = UnrdfResult(0, i, &isnull);
			nulls[i] = isnull ? 'n' : ' ';
		}
		old.id = DatumGetInt64(UnrdfResult(0, SETTINGS + 1, &isnull));
		UnrdfRetentionRead(isnull ? 0 : old.id, &old);
	}
	*rule = old;
	apply(id, settings, values, nulls, rule);
	check_together(nulls);
	values[SETTINGS] = queue;
	values[SETTINGS + 1] = ObjectIdGetDatum(GetUserId());
	UnrdfExecute(&write_row, values, nulls, false);
	SPI_finish();
	UnrdfConfigChanged();
	*queue_id = id;
	return memcmp(rule->keep, old.keep, sizeof(old.keep)) != 0;
}

/* What group_by finds in the arguments; NULL where that is nothing, or null. */
static text *
find_group(Datum path, Jsonb *args)
{
	LOCAL_FCINFO(fcinfo, 4);
	Datum value;
	JsonbValue scalar;

	InitFunctionCallInfoData(*fcinfo, NULL, 4, InvalidOid, NULL, NULL);
	fcinfo->args[0].value = JsonbPGetDatum(args);
	fcinfo->args[1].value = path;
	fcinfo->args[2].value = DirectFunctionCall1(jsonb_in, CStringGetDatum("{}"));
	fcinfo->args[3].value = BoolGetDatum(true);
	for (int i = 0; i < 4; i++)
		fcinfo->args[i].isnull = false;
	value = jsonb_path_query_first(fcinfo);
	if (fcinfo->isnull)
		return NULL;
	if (JB_ROOT_IS_SCALAR(DatumGetJsonbP(value)))
	{
		(void) JsonbExtractScalar(&DatumGetJsonbP(value)->root, &scalar);
		if (scalar.type == jbvNull)
			return NULL;
		if (scalar.type == jbvString)
			return cstring_to_text_with_len(scalar.val.string.val, scalar.val.string.len);
	}
	return cstring_to_text(JsonbToCString(NULL, &DatumGetJsonbP(value)->root, 0));
}

/*
 * UnrdfShareOf returns whose share of its queue a job is, by the queue's settings as they are, and the share's weight.
 * 0: nobody's.
 */
uint64
UnrdfShareOf(const UnrdfJob *job, int32 *weight)
{
	const UnrdfQueueRow *row = UnrdfQueueRowById(job->queue);
	UnrdfShareBy by = row->settings.share_by;
	uint64 id = 0;

	*weight = 1;
	if (by == UNRDF_SHARE_OWNER)
		id = job->owner;
	else if (by == UNRDF_SHARE_TENANT && job->tenant)
		id = share_id(by, job->tenant);
	for (int i = 0; i < row->nweights; i++)
		if (row->weights[i].id == id)
			*weight = row->weights[i].weight;
	return id;
}

/* UnrdfJobGroup gives a job its group, if it has none and its arguments say one. Raises 22023 for a long one. */
void
UnrdfJobGroup(UnrdfJob *job)
{
	const UnrdfQueueRow *row = UnrdfQueueRowById(job->queue);

	if (job->group_key == NULL && row->group_by != 0)
		job->group_key = find_group(row->group_by, job->args);
	if (job->group_key && VARSIZE_ANY_EXHDR(job->group_key) > MOST_GROUP_KEY)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("what group_by finds must have at most %d bytes", MOST_GROUP_KEY)));
}

/* A flow's number: 0 is none, negative are those of workers outside, of which -1 has neither group nor share. */
static int64
flow_number(bool outside, uint64 hash)
{
	int64 number = (int64) (hash & PG_INT64_MAX);

	return outside ? -Max(2, number) : Max(1, number);
}

/* UnrdfFlowFor returns the flow that a job of another handler has beside one of this flow: the same, on its own side. */
int64
UnrdfFlowFor(int64 flow, int32 handler)
{
	bool outside = UnrdfHandlerIsOutside(handler);

	if (outside == (flow < 0))
		return flow;
	if (outside)
		return flow == 0 ? -1 : flow_number(true, (uint64) flow);
	return flow == -1 ? 0 : -flow;
}

/* UnrdfJobFlow gives a job that has its group, if any, its flow. */
void
UnrdfJobFlow(UnrdfJob *job)
{
	bool outside = UnrdfHandlerIsOutside(job->handler);
	const UnrdfQueueRow *row = UnrdfQueueRowById(job->queue);
	int32 weight;
	uint64 hash;

	job->flow = outside ? -1 : 0;
	if (job->group_key == NULL && row->settings.share_by == UNRDF_SHARE_NONE)
		return;
	hash = UnrdfShareOf(job, &weight);
	if (hash == 0 && job->group_key == NULL)
		return;
	if (job->group_key)
		hash = hash_combine64(
			hash, hash_name(VARDATA_ANY(job->group_key), VARSIZE_ANY_EXHDR(job->group_key)));
	job->flow = flow_number(outside, hash);
}
