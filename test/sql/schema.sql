-- JSON Schema: what is said where a value does not fit, and which schemas are refused. Whether values fit is in t/031_schema.
CREATE FUNCTION pg_temp.why(schema jsonb, value jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	RETURN coalesce(unrdf.schema_error(value, schema), 'fits');
EXCEPTION WHEN invalid_parameter_value THEN
	GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
	RETURN 'refused: ' || said;
WHEN invalid_regular_expression OR statement_too_complex THEN
	RETURN 'refused: ' || sqlstate || ' ' || sqlerrm;
END $$;

-- What is said, one keyword after the other
SELECT schema, value, pg_temp.why(schema::jsonb, value::jsonb) FROM (VALUES
	('true', '1'), ('false', '1'), ('{}', 'null'),
	('{"type": "string"}', '1'), ('{"type": ["string", "null"]}', '1'), ('{"type": "integer"}', '1.0'), ('{"type": "integer"}', '1.5'),
	('{"enum": [1, "a", {"b": [1.0]}]}', '{"b": [1]}'), ('{"enum": [1, "a"]}', '"b"'), ('{"const": [1, 2]}', '[2, 1]'),
	('{"minimum": 1}', '0.5'), ('{"maximum": 1}', '1.5'), ('{"exclusiveMinimum": 1}', '1'), ('{"exclusiveMaximum": 1}', '1'), ('{"multipleOf": 0.01}', '4.02'), ('{"multipleOf": 0.01}', '4.025'),
	('{"minLength": 2}', '"ü"'), ('{"maxLength": 1}', '"üü"'), ('{"pattern": "^a+$"}', '"aab"'), ('{"pattern": "b"}', '"abc"'),
	('{"minItems": 1}', '[]'), ('{"maxItems": 1}', '[1, 2]'), ('{"uniqueItems": true}', '[{"a": 1}, 2, {"a": 1.0}]'),
	('{"minProperties": 1}', '{}'), ('{"maxProperties": 0}', '{"a": 1}'), ('{"required": ["a", "b"]}', '{"a": 1}'),
	('{"properties": {"a": {"items": {"type": "object", "properties": {"b/~": {"type": "null"}}}}}}', '{"a": [{}, {"b/~": 1}]}'),
	('{"patternProperties": {"^x": {"type": "string"}}}', '{"x1": 1}'), ('{"properties": {"a": true}, "patternProperties": {"^x": true}, "additionalProperties": false}', '{"a": 1, "x": 1, "y": 1}'),
	('{"prefixItems": [{"type": "string"}, true], "items": false}', '["a", 1, 2]'), ('{"prefixItems": [{"type": "string"}]}', '[1]'),
	('{"allOf": [{"minimum": 1}, {"maximum": 2}]}', '3'), ('{"anyOf": [{"minimum": 3}, {"type": "string"}]}', '2'), ('{"oneOf": [{"minimum": 1}, {"minimum": 2}]}', '3'), ('{"oneOf": [{"minimum": 5}, {"minimum": 6}]}', '3'),
	('{"not": {"type": "null"}}', 'null'), ('{"if": {"minimum": 10}, "then": {"multipleOf": 10}, "else": {"maximum": 5}}', '15'), ('{"if": {"minimum": 10}, "then": {"multipleOf": 10}, "else": {"maximum": 5}}', '7'),
	('{"$defs": {"a/b": {"type": "null"}}, "items": {"$ref": "#/$defs/a~1b"}}', '[null, 1]'), ('{"properties": {"next": {"$ref": "#"}}, "required": ["v"]}', '{"v": 1, "next": {"v": 1, "next": {}}}'),
	('{"format": "date", "title": "t", "$comment": "c", "default": 1, "examples": [1], "deprecated": true, "description": "d", "readOnly": false, "writeOnly": false}', '"no date"')
) AS x (schema, value);

-- Schemas that are refused, and where
SELECT schema, pg_temp.why(schema::jsonb, '1') FROM (VALUES
	('1'), ('"true"'), ('[]'), ('null'), ('{"contains": {}}'), ('{"properties": {"a": {"frobnicate": 1}}}'), ('{"not": 1}'), ('{"allOf": []}'), ('{"allOf": {}}'), ('{"anyOf": [1]}'),
	('{"type": "float"}'), ('{"type": ["string", 1]}'), ('{"enum": 1}'), ('{"required": [1]}'), ('{"minimum": "1"}'), ('{"multipleOf": 0}'), ('{"minLength": -1}'), ('{"minLength": 1.5}'), ('{"minLength": 2.0}'),
	('{"uniqueItems": 1}'), ('{"title": 1}'), ('{"pattern": "("}'), ('{"patternProperties": {"[": {}}}'), ('{"properties": []}'), ('{"items": [true]}'), ('{"$ref": "#/$defs/none"}'), ('{"$ref": "http://example.org"}'),
	('{"$defs": {"a": {}}, "$ref": "#/$defs/a/b"}'), ('{"$schema": "http://json-schema.org/draft-07/schema#"}'), ('{"$schema": "https://json-schema.org/draft/2020-12/schema"}'), ('{"items": {"$id": "a"}}'), ('{"$id": "a"}')
) AS x (schema);

-- One that leads nowhere is followed so far; a deep one is not a problem
SELECT pg_temp.why('{"$ref": "#"}', '1');
SELECT pg_temp.why('{"$defs": {"a": {"anyOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}}, "$ref": "#/$defs/a"}', '1');
SELECT pg_temp.why('{"items": {"$ref": "#"}, "type": "array"}', (repeat('[', 200) || repeat(']', 200))::jsonb);
SELECT pg_temp.why('{"items": {"$ref": "#"}, "type": "array"}', (repeat('[', 600) || repeat(']', 600))::jsonb);
SELECT pg_temp.why((repeat('{"not": ', 400) || 'true' || repeat('}', 400))::jsonb, '1');
SELECT pg_temp.why('{"uniqueItems": true}', (SELECT jsonb_agg(i) FROM generate_series(1, 20000) AS i));
SELECT pg_temp.why('{"uniqueItems": true}', (SELECT jsonb_agg(i % 19999) FROM generate_series(1, 20000) AS i));
SELECT unrdf.schema_error('1', '{"minimum": 2}'), unrdf.schema_error(NULL, '{}'), unrdf.schema_error('1', NULL);
SELECT unrdf.schema_error('1', '{"minimum": "2"}');
