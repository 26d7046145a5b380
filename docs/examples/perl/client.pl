#!/usr/bin/env perl
# Books one place with Giliran, and prints the answer.
#
#     perl client.pl OPENING OFFICE APPLICANT [REQUEST_ID]

use v5.26;
use warnings;

use FindBin qw($Bin);
use JSON::PP;
use lib $Bin;

use Giliran;

my ($opening, $office, $applicant, $request_id) = @ARGV;
if (!defined $applicant) {
    print STDERR "usage: client.pl OPENING OFFICE APPLICANT [REQUEST_ID]\n";
    exit 2;
}
# Made once, before the first try; a real client stores it with the order.
$request_id //= sprintf '%08x%08x', rand 2**32, rand 2**32;
my $wish = {
    request_id => $request_id, applicants => [$applicant], choices => [{ office => $office }],
    opening => $opening,
};
my $answer = eval { Giliran->connect->ask(book => $wish) };
if (!$answer) {
    my $why = ref $@ eq 'Giliran::Unsettled' ? "$@->{why}; go on with request id $request_id\n" : $@;
    print STDERR "client.pl: $why";
    exit 1;
}
say JSON::PP->new->utf8->canonical->encode($answer);
exit(Giliran::next_step($answer, 'book') =~ /^(done|confirm|wait)$/ ? 0 : 1);
