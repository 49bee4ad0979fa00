# JSON Schema as the official test suite (JSON-Schema-Test-Suite, draft 2020-12) has it: each of its schemas is either refused, for
# a keyword that we say we do not know, or decides each of its values as the suite says.
use strict;
use warnings;

use JSON::PP;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Unrdf;

my $suite = '/usr/share/perl5/auto/share/dist/Test-JSON-Schema-Acceptance/tests/draft2020-12';
-d $suite or die 'run test/setup tests';

# What the README does not list, and so is refused; besides it, references to other places than #/$defs, and $id within
my @unknown = qw($anchor $dynamicAnchor $dynamicRef $vocabulary contains maxContains minContains contentEncoding contentMediaType contentSchema dependentRequired
  dependentSchemas dependencies definitions propertyNames unevaluatedItems unevaluatedProperties foo unknown_keyword array_of_schemas);

my $node = new_node('schema');
$node->start;
install($node, 'postgres');
$node->safe_psql('postgres', q(
	CREATE TABLE suite (file text, schema jsonb, about text, value jsonb, valid boolean);
	CREATE FUNCTION judge(value jsonb, schema jsonb) RETURNS text LANGUAGE plpgsql AS $$
	DECLARE
		said text;
	BEGIN
		RETURN CASE WHEN unrdf.schema_error(value, schema) IS NULL THEN 'valid' ELSE 'invalid' END;
	EXCEPTION WHEN invalid_parameter_value OR invalid_regular_expression OR statement_too_complex THEN
		GET STACKED DIAGNOSTICS said = PG_EXCEPTION_DETAIL;
		RETURN CASE WHEN said = '' THEN SQLERRM ELSE said END;
	END
	$$;
));

# jsonb has no \u0000, and its numbers end somewhere; those cases are left out, and counted.
my $json = JSON::PP->new->allow_nonref->allow_bignum->canonical->ascii;
my $left_out = 0;
my $rows = '';
for my $path (glob("$suite/*.json"), map { "$suite/optional/$_.json" } qw(bignum float-overflow))
{
	my ($file) = $path =~ m{([^/]+)\.json$};

	for my $group (@{ $json->decode(slurp_file($path)) })
	{
		for my $test (@{ $group->{tests} })
		{
			my @fields = ($file, $json->encode($group->{schema}), "$group->{description}: $test->{description}", $json->encode($test->{data}), $test->{valid} ? 't' : 'f');

			if ("$fields[1] $fields[3]" =~ /\\u0000/)
			{
				$left_out++;
				next;
			}
			s/([\\\t\n])/{ "\\" => '\\\\', "\t" => '\\t', "\n" => '\\n' }->{$1}/ge for @fields;
			utf8::encode($_) for @fields;
			$rows .= join("\t", @fields) . "\n";
		}
	}
}
append_to_file("$PostgreSQL::Test::Utils::tmp_check/suite", $rows);
$node->safe_psql('postgres', "\\copy suite FROM '$PostgreSQL::Test::Utils::tmp_check/suite'");
cmp_ok($left_out, '<=', 4, "$left_out cases with the character 0 are left out");

$node->safe_psql('postgres', 'CREATE TABLE judged AS SELECT s.*, judge(value, schema) AS said FROM suite AS s');
is($node->safe_psql('postgres', q(SELECT file, about, said FROM judged WHERE said IN ('valid', 'invalid') AND (said = 'valid') <> valid ORDER BY 1, 2)), '', 'no value is judged otherwise');
my ($all, $judged) = split /\|/, $node->safe_psql('postgres', q(SELECT count(*), count(*) FILTER (WHERE said IN ('valid', 'invalid')) FROM judged));
cmp_ok($judged, '>=', 650, "$judged of $all cases are judged");
my $known = join '|', map { quotemeta } @unknown;
is( $node->safe_psql('postgres', q(SELECT DISTINCT said FROM judged WHERE said NOT IN ('valid', 'invalid') AND said !~ ('/(' || $1 || ')": is no keyword')
		AND said !~ '(/\$id": can only be at the root|/\$ref": must be # or name a schema|/\$schema": must be https:)' ORDER BY 1) =~ s/\$1/'$known'/r),
	'', 'the others are refused for keywords, or forms of them, that are not known');
is( $node->safe_psql('postgres', q(SELECT file, count(*) FROM judged WHERE file IN ('additionalProperties', 'allOf', 'anyOf', 'boolean_schema', 'const', 'enum', 'exclusiveMaximum',
		'exclusiveMinimum', 'if-then-else', 'items', 'maxItems', 'maxLength', 'maxProperties', 'maximum', 'minItems', 'minLength', 'minProperties', 'minimum', 'multipleOf', 'oneOf', 'pattern',
		'patternProperties', 'prefixItems', 'properties', 'required', 'type', 'uniqueItems') AND said NOT IN ('valid', 'invalid') GROUP BY 1)),
	'', 'none of a keyword that is known');
$node->stop;

done_testing();
