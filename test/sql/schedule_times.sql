-- When schedules are due: cron expressions over real changes of clocks, intervals, and what is neither.
SET timezone = 'UTC';
SET datestyle = 'ISO, YMD';
SET intervalstyle = 'postgres';
CREATE SCHEMA times;
-- what a refused statement raises; nothing, where it is not refused
CREATE FUNCTION times.raised(statement text, OUT code text, OUT message text, OUT detail text) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL;
END $$;

-- Expected is what a program in Python finds that goes through real time minute by minute and asks zoneinfo what the clock shows. Below are
-- those that differ: none. Gaps and repetitions of an hour, of half an hour (Lord Howe), of two (Troll), at midnight (Santiago, St John's),
-- in the south, backwards in spring (Casablanca, for Ramadan), and of a whole day (Apia).
CREATE TABLE times.expected (zone text, cron text, after timestamptz, due timestamptz[]);
INSERT INTO times.expected VALUES
	('Europe/Berlin', '30 2 * * *', '2026-03-28 00:00', '{2026-03-28 01:30, 2026-03-29 01:00, 2026-03-30 00:30}'),
	('Europe/Berlin', '0,30 2 * * *', '2026-03-28 12:00', '{2026-03-29 01:00, 2026-03-30 00:00, 2026-03-30 00:30, 2026-03-31 00:00}'),
	('Europe/Berlin', '0 3 * * *', '2026-03-28 12:00', '{2026-03-29 01:00, 2026-03-30 01:00}'),
	('Europe/Berlin', '0 2,3 * * *', '2026-03-28 12:00', '{2026-03-29 01:00, 2026-03-30 00:00, 2026-03-30 01:00}'),
	('Europe/Berlin', '*/30 * * * *', '2026-03-29 00:00', '{2026-03-29 00:30, 2026-03-29 01:00, 2026-03-29 01:30, 2026-03-29 02:00, 2026-03-29 02:30}'),
	('Europe/Berlin', '0 * * * *', '2026-03-28 23:30', '{2026-03-29 00:00, 2026-03-29 01:00, 2026-03-29 02:00, 2026-03-29 03:00}'),
	('Europe/Berlin', '30 2 * * *', '2026-10-24 12:00', '{2026-10-25 00:30, 2026-10-26 01:30, 2026-10-27 01:30}'),
	('Europe/Berlin', '30 2 * * *', '2026-10-25 00:30', '{2026-10-26 01:30, 2026-10-27 01:30}'),
	('Europe/Berlin', '30 2 * * *', '2026-10-25 01:00', '{2026-10-26 01:30, 2026-10-27 01:30}'),
	('Europe/Berlin', '0 2 * * *', '2026-10-24 12:00', '{2026-10-25 00:00, 2026-10-26 01:00, 2026-10-27 01:00}'),
	('Europe/Berlin', '0 3 * * *', '2026-10-24 12:00', '{2026-10-25 02:00, 2026-10-26 02:00, 2026-10-27 02:00}'),
	('Europe/Berlin', '*/30 * * * *', '2026-10-24 23:45', '{2026-10-25 00:00, 2026-10-25 00:30, 2026-10-25 01:00, 2026-10-25 01:30, 2026-10-25 02:00, 2026-10-25 02:30}'),
	('Europe/Berlin', '15 * * * *', '2026-10-24 23:00', '{2026-10-24 23:15, 2026-10-25 00:15, 2026-10-25 01:15, 2026-10-25 02:15}'),
	('Europe/Berlin', '*/20 2 * * *', '2026-10-24 22:00', '{2026-10-25 00:00, 2026-10-25 00:20, 2026-10-25 00:40, 2026-10-25 01:00, 2026-10-25 01:20, 2026-10-25 01:40, 2026-10-26 01:00}'),
	('America/New_York', '30 2 8 3 *', '2026-01-01 00:00', '{2026-03-08 07:00, 2027-03-08 07:30}'),
	('America/New_York', '30 1 * * *', '2026-10-31 12:00', '{2026-11-01 05:30, 2026-11-02 06:30, 2026-11-03 06:30}'),
	('America/New_York', '0 0 1 * *', '2026-02-15 00:00', '{2026-03-01 05:00, 2026-04-01 04:00, 2026-05-01 04:00}'),
	('America/New_York', '45 * * * sun', '2026-11-01 04:30', '{2026-11-01 04:45, 2026-11-01 05:45, 2026-11-01 06:45, 2026-11-01 07:45}'),
	('Australia/Lord_Howe', '15 2 * * *', '2026-10-02 00:00', '{2026-10-02 15:45, 2026-10-03 15:30, 2026-10-04 15:15, 2026-10-05 15:15}'),
	('Australia/Lord_Howe', '45 1 * * *', '2026-04-03 00:00', '{2026-04-03 14:45, 2026-04-04 14:45, 2026-04-05 15:15, 2026-04-06 15:15}'),
	('Australia/Lord_Howe', '0,15,30,45 1,2 * * *', '2026-10-03 14:00', '{2026-10-03 14:30, 2026-10-03 14:45, 2026-10-03 15:00, 2026-10-03 15:15, 2026-10-03 15:30, 2026-10-03 15:45, 2026-10-04 14:00, 2026-10-04 14:15, 2026-10-04 14:30}'),
	('Australia/Lord_Howe', '0,15,30,45 1,2 * * *', '2026-04-04 13:00', '{2026-04-04 14:00, 2026-04-04 14:15, 2026-04-04 14:30, 2026-04-04 14:45, 2026-04-04 15:30, 2026-04-04 15:45, 2026-04-04 16:00, 2026-04-04 16:15, 2026-04-05 14:30}'),
	('Australia/Lord_Howe', '*/15 * * * *', '2026-04-04 14:20', '{2026-04-04 14:30, 2026-04-04 14:45, 2026-04-04 15:00, 2026-04-04 15:15, 2026-04-04 15:30, 2026-04-04 15:45, 2026-04-04 16:00}'),
	('Australia/Lord_Howe', '*/15 * * * *', '2026-10-03 15:00', '{2026-10-03 15:15, 2026-10-03 15:30, 2026-10-03 15:45, 2026-10-03 16:00}'),
	('Africa/Casablanca', '30 2 * * *', '2026-02-13 12:00', '{2026-02-14 01:30, 2026-02-15 01:30, 2026-02-16 02:30, 2026-02-17 02:30}'),
	('Africa/Casablanca', '30 2 * * *', '2026-03-20 12:00', '{2026-03-21 02:30, 2026-03-22 02:00, 2026-03-23 01:30, 2026-03-24 01:30}'),
	('Africa/Casablanca', '*/30 * * * *', '2026-02-15 00:45', '{2026-02-15 01:00, 2026-02-15 01:30, 2026-02-15 02:00, 2026-02-15 02:30, 2026-02-15 03:00, 2026-02-15 03:30}'),
	('America/Santiago', '0 0 * * *', '2026-09-04 12:00', '{2026-09-05 04:00, 2026-09-06 04:00, 2026-09-07 03:00, 2026-09-08 03:00}'),
	('America/Santiago', '30 23 * * *', '2026-04-03 12:00', '{2026-04-04 02:30, 2026-04-05 02:30, 2026-04-06 03:30, 2026-04-07 03:30}'),
	('America/Santiago', '30 * * * *', '2026-09-06 01:00', '{2026-09-06 01:30, 2026-09-06 02:30, 2026-09-06 03:30, 2026-09-06 04:30}'),
	('Pacific/Auckland', '30 2 * * *', '2026-09-25 00:00', '{2026-09-25 14:30, 2026-09-26 14:00, 2026-09-27 13:30, 2026-09-28 13:30}'),
	('Pacific/Auckland', '30 2 * * *', '2026-04-03 00:00', '{2026-04-03 13:30, 2026-04-04 13:30, 2026-04-05 14:30, 2026-04-06 14:30}'),
	('Pacific/Apia', '0 9 * * *', '2011-12-28 12:00', '{2011-12-28 19:00, 2011-12-29 19:00, 2011-12-30 10:00, 2011-12-30 19:00, 2011-12-31 19:00}'),
	('Pacific/Apia', '0 9 30 12 *', '2011-12-01 00:00', '{2011-12-30 10:00}'),
	('Pacific/Apia', '0 0 * * *', '2011-12-28 12:00', '{2011-12-29 10:00, 2011-12-30 10:00, 2011-12-31 10:00, 2012-01-01 10:00}'),
	('Pacific/Apia', '0 */8 * * *', '2011-12-29 12:00', '{2011-12-29 18:00, 2011-12-30 02:00, 2011-12-30 10:00, 2011-12-30 18:00, 2011-12-31 02:00, 2011-12-31 10:00}'),
	('Pacific/Apia', '30 9,10 30,31 12 *', '2011-12-01 00:00', '{2011-12-30 10:00, 2011-12-30 19:30, 2011-12-30 20:30, 2012-12-29 19:30}'),
	('Asia/Kathmandu', '0 6 * * mon-fri', '2026-01-02 00:00', '{2026-01-02 00:15, 2026-01-05 00:15, 2026-01-06 00:15, 2026-01-07 00:15}'),
	('Asia/Kolkata', '30 4 13 * fri', '2026-02-01 00:00', '{2026-02-05 23:00, 2026-02-12 23:00, 2026-02-19 23:00, 2026-02-26 23:00, 2026-03-05 23:00, 2026-03-12 23:00}'),
	('America/St_Johns', '1 0 * * *', '2006-10-28 12:00', '{2006-10-29 03:31, 2006-10-30 03:31, 2006-10-31 03:31}'),
	('America/St_Johns', '1 0 * * *', '2006-03-31 12:00', '{2006-04-01 03:31, 2006-04-02 03:31, 2006-04-03 02:31}'),
	('Antarctica/Troll', '30 1 * * *', '2026-03-28 00:00', '{2026-03-28 01:30, 2026-03-29 01:00, 2026-03-29 23:30}'),
	('Antarctica/Troll', '30 1 * * *', '2026-10-24 00:00', '{2026-10-24 23:30, 2026-10-26 01:30, 2026-10-27 01:30}'),
	('Europe/London', '59 23 31 12 *', '2026-01-01 00:00', '{2026-12-31 23:59, 2027-12-31 23:59}'),
	('UTC', '0 0 29 2 *', '2026-01-01 00:00', '{2028-02-29 00:00, 2032-02-29 00:00}'),
	('UTC', '0 12 1 1,7 *', '2026-01-01 12:00', '{2026-07-01 12:00, 2027-01-01 12:00, 2027-07-01 12:00}'),
	('UTC', '*/7 */5 * * 0,6', '2026-01-02 22:00', '{2026-01-03 00:00, 2026-01-03 00:07, 2026-01-03 00:14, 2026-01-03 00:21, 2026-01-03 00:28}');
SELECT count(*) FROM times.expected;
SELECT e.*, f.due FROM times.expected AS e,
	LATERAL (SELECT array_agg(d ORDER BY d) AS due FROM unrdf.schedule_due_times(e.cron, e.zone, cardinality(e.due), e.after) AS d) AS f
WHERE f.due IS DISTINCT FROM e.due;

-- The same whatever the step: from each due time on, the rest
SELECT e.zone, e.cron, i FROM times.expected AS e, generate_subscripts(e.due, 1) AS i,
	LATERAL (SELECT array_agg(d ORDER BY d) AS due FROM unrdf.schedule_due_times(e.cron, e.zone, cardinality(e.due), e.due[i] - interval '1 microsecond') AS d) AS f
WHERE f.due[1:cardinality(e.due) - i + 1] IS DISTINCT FROM e.due[i:];

-- Names, lists, ranges, steps, and the days that either of two fields allows
SELECT cron, array_agg(to_char(d, 'Dy DD Mon HH24:MI') ORDER BY d) AS due
FROM unnest(ARRAY['@hourly', '@daily', '@midnight', '@weekly', '@monthly', '@yearly', '@annually', '  @daily ', '0 0 * * 7', '0 0 * * 0', '0 0 * * SUN', '0 0 * * fri-sun',
	'0 0 * Jan-mar/2 *', '0,59 23 31 12 *', '10-30/10,5 4 * * *', '0 22-23,1 * * *', E'0\t0   1  *  *', '0 0 13 * 5', '0 0 */10 * 1', '*/60 */24 */31 */12 *', '0 0 29 2 */7', '05 007 1 1 *'])
	WITH ORDINALITY AS c (cron, n), LATERAL unrdf.schedule_due_times(cron, 'UTC', 4, '2026-01-01 00:00') AS d GROUP BY n, cron ORDER BY n;

-- Intervals, at their multiples since 1970
SELECT cron, array_agg(d ORDER BY d) AS due
FROM unnest(ARRAY['1 second', '1.5 s', '30 seconds', '00:05', '90 minutes', '1 day', '1 week', '1 day -1 hour', 'PT45S', '3660 days']) WITH ORDINALITY AS c (cron, n),
	LATERAL unrdf.schedule_due_times(cron, 'Asia/Kathmandu', 3, '2026-01-01 00:00:00.25') AS d GROUP BY n, cron ORDER BY n;

-- The zone is one of the server's, also one that is a rule; the ends of what there is
SELECT zone, array_agg(d ORDER BY d) AS due FROM unnest(ARRAY['utc', 'europe/berlin', 'EST5EDT', 'FOO+3', 'Etc/GMT-14']) WITH ORDINALITY AS z (zone, n),
	LATERAL unrdf.schedule_due_times('0 12 * * *', zone, 2, '2026-07-01 00:00') AS d GROUP BY n, zone ORDER BY n;
SELECT count(*) AS default_number, min(d) > now() AS later FROM unrdf.schedule_due_times('* * * * *') AS d;
SELECT after, array_agg(d ORDER BY d) AS due FROM unnest(ARRAY['infinity', '-infinity', '10000-01-01', '9999-12-31 23:58', '0001-01-01', '0001-01-01 BC', '1883-11-18 16:30']::timestamptz[]) WITH ORDINALITY AS a (after, n)
	LEFT JOIN LATERAL unrdf.schedule_due_times('* * * * *', 'America/New_York', 2, after) AS d ON true GROUP BY n, after ORDER BY n;
SELECT * FROM unrdf.schedule_due_times('0 0 1 1 *', 'UTC', 3, '9997-06-01');
SELECT unrdf.schedule_next('0 12 * * *', 'Atlantis/Poseidonis', '2026-01-01 12:00');

-- What is refused
SELECT cron, r.* FROM unnest(ARRAY['', ' ', '*', '* * * *', '* * * * * *', '60 * * * *', '* 24 * * *', '* * 0 * *', '* * 32 * *', '* * * 0 *', '* * * 13 *', '* * * * 8', '-1 * * * *', '1- * * * *',
	'5-1 * * * *', '*/0 * * * *', '*/61 * * * *', '5/10 * * * *', '1,, * * * *', ',1 * * * *', '1, * * * *', '* * * foo *', '* * * january *', 'mon * * * *', '* * * * jan', '*-5 * * * *', '1-2-3 * * * *', '1/2/3 * * * *',
	'99999999999999999999 * * * *', '? * * * *', '* * L * *', '* * * * 5#2', '0 0 30 2 *', '0 0 31 4,6,9,11 *', '@reboot', '@every 5m', '@dail', '@daily x', '@', E'\u00e9 * * * *',
	'0 seconds', '0.5 s', '-5 s', '1 month', '1 year', '1 month -30 days', '3661 days', '100000000 days', '5', 'often', '1 fortnight']) AS cron,
	times.raised(format('SELECT * FROM unrdf.schedule_due_times(%L)', cron)) AS r;
SELECT call, r.* FROM unnest(ARRAY['''* * * * *'', ''Europe/Berln''', '''* * * * *'', ''''', '''* * * * *'', ''UTC'', 0', '''* * * * *'', ''UTC'', 10001', '''1 s'', ''Nowhere''']) AS call,
	times.raised(format('SELECT * FROM unrdf.schedule_due_times(%s)', call)) AS r;
SELECT count(*) AS strict FROM unrdf.schedule_due_times(NULL);

DROP SCHEMA times CASCADE;
