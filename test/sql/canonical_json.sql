-- The JSON Canonicalization Scheme, RFC 8785.

-- Structure: no white space, members sorted by UTF-16 code units
SELECT unrdf.canonical_json(v::jsonb) FROM (VALUES ('{}'), ('[]'), ('null'), ('true'), ('false'), ('""'), ('"a"'), ('0'),
	('{"b": 1, "a": [1, 2, {"d": null, "c": {}}]}'), ('[[], {}, [[]]]')) AS t (v);
-- keys beyond ASCII in UTF-16 order, and one that is the other's beginning
SELECT unrdf.canonical_json('{"\ufffd": 1, "\ud800\udc00": 2, "\ue000": 3, "\ud7ff": 4, "\ud7ff\ud800\udc00": 5}') = U&'{"\D7FF":4,"\D7FF\+010000":5,"\+010000":2,"\E000":3,"\FFFD":1}' AS utf_16_order;
-- section 3.2.3's own example: € is before the emoji in UTF-16, after it in UTF-8 it is not
SELECT unrdf.canonical_json('{"\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
	"1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control", "\u00f6": "Latin Small Letter O With Diaeresis"}');
-- section 3.2.2's, but for the number that the rule below refuses
SELECT unrdf.canonical_json('{"numbers": [333333333.3333333, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
	"string": "\u20ac$\u000F\u000aA''\u0042\u0022\u005c\\\"\/", "literals": [null, true, false]}');
-- a key that is a prefix, lengths that jsonb sorts first
SELECT unrdf.canonical_json('{"aa": 1, "b": 2, "a": 3, "": 4, "B": 5, "a ": 6}');

-- Strings: only what must be escaped, in its shortest form
SELECT unrdf.canonical_json(to_jsonb(chr(8) || chr(9) || chr(10) || chr(12) || chr(13) || '"\/' || chr(1) || chr(31) || chr(127) || chr(8232)));
-- what psql does not show as it is
SELECT encode(convert_to(unrdf.canonical_json(to_jsonb(chr(127) || chr(128) || chr(8232) || chr(65535) || chr(1114111))), 'UTF8'), 'hex') AS bytes;
SELECT unrdf.canonical_json('"\u00e9\u0065\u0301"') = '"é' || 'e' || U&'\0301' || '"' AS not_normalized;

-- Numbers: as ECMAScript writes them
SELECT v, unrdf.canonical_json(v::jsonb) FROM (VALUES ('0'), ('-0'), ('0.0'), ('1'), ('-1'), ('1.0'), ('1.50'), ('100'), ('1e2'), ('1E+2'), ('10e-1'),
	('0.1'), ('0.000001'), ('0.0000001'), ('1e-7'), ('1.5e-9'), ('123456789012345680000'), ('100000000000000000000'), ('1e21'), ('1.5e21'), ('999999999999999900000'),
	('9007199254740992'), ('-9007199254740992'), ('9007199254740994'), ('1.7976931348623157e308'), ('5e-324'), ('2.2250738585072014e-308'), ('0.1e1'),
	('295147905179352830000'), ('1e23'), ('333333333.3333333'), ('4.35'), ('0.30000000000000004')) AS t (v);
-- What names no double exactly is refused, 22003
\set VERBOSITY sqlstate
SELECT unrdf.canonical_json('9007199254740993');
SELECT unrdf.canonical_json('-9007199254740993');
SELECT unrdf.canonical_json('1e309');
SELECT unrdf.canonical_json('1e-400');
SELECT unrdf.canonical_json('0.1000000000000000055511151231257827021181583404541015625');
SELECT unrdf.canonical_json('{"deep": [{"down": 12345678901234567890}]}');
SELECT unrdf.canonical_json('295147905179352825856');
SELECT unrdf.canonical_json('333333333.33333329');
\set VERBOSITY default
SELECT unrdf.canonical_json(NULL) IS NULL AS strict;

-- An independent rendering of the structure, in SQL, agrees; keys by code point suffice below U+D800
CREATE FUNCTION pg_temp.jcs(v jsonb) RETURNS text LANGUAGE sql AS $$
	SELECT CASE jsonb_typeof(v)
		WHEN 'object' THEN '{' || coalesce((SELECT string_agg(to_json(key)::text || ':' || pg_temp.jcs(value), ',' ORDER BY key COLLATE "C") FROM jsonb_each(v)), '') || '}'
		WHEN 'array' THEN '[' || coalesce((SELECT string_agg(pg_temp.jcs(value), ',' ORDER BY n) FROM jsonb_array_elements(v) WITH ORDINALITY AS t (value, n)), '') || ']'
		ELSE v::text END $$;
SELECT count(*) AS compared, count(*) FILTER (WHERE unrdf.canonical_json(v) <> pg_temp.jcs(v)) AS different
FROM (SELECT jsonb_object_agg(md5((i * j)::text) || repeat('é', j), CASE j % 4 WHEN 0 THEN to_jsonb(i) WHEN 1 THEN to_jsonb(md5(i::text))
		WHEN 2 THEN jsonb_build_array(i, jsonb_build_object('z', null, 'y', true), '[]'::jsonb) ELSE jsonb_build_object(i::text, j, j::text, i) END) AS v
	FROM generate_series(1, 300) AS i, generate_series(1, 12) AS j GROUP BY i) AS t;
-- Deep and wide ones
SELECT length(unrdf.canonical_json((repeat('[', 1000) || repeat(']', 1000))::jsonb));
SELECT length(unrdf.canonical_json((SELECT jsonb_object_agg(i, repeat('x', 100)) FROM generate_series(1, 10000) AS i)));
