# What test/t/002_crash.pl shows, over 50 kills. UNRDF_KILLS and UNRDF_SEED mean what they mean there.
use strict;
use warnings;

use FindBin;
# Here already, though only that file needs them: their INIT blocks do not run for what is loaded later.
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;

$ENV{UNRDF_KILLS} //= 50;

my $test = "$FindBin::RealBin/../t/002_crash.pl";
if (!defined do $test)
{
	die $@ || "could not read $test: $!";
}
