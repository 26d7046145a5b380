package Giliran::Binary;

# The binary form, from the tables of docs/wire-protocol.md: fields in their order, without names.

use v5.26;
use warnings;

use Encode qw(decode_utf8 encode_utf8);
use Time::Local qw(timegm);

use constant SYMBOLS => '0123456789ABCDEFGHJKMNPQRSTVWXYZ';
my @REASONS = qw(- malformed unknown_opening not_open closed unknown_slot not_permitted
    party_too_large account_limit already_booked conflict sold_out expired not_found wrong_state busy
    unavailable applicant_limit);
my @STATUS = qw(held confirmed cancelled expired);
my @STATE = qw(scheduled open closed);

# A field: its name, and its type; `?` before a type says that it may be left out.
my @CHOICE = ([office => 'text'], [date => '?text'], [session => '?text']);
my %REQUESTS = (
    book => [
        [request_id => 'text'], [applicants => 'texts'], [choices => 'choices'],
        [opening => '?text'], [expires_at => '?time'], [account => '?text'], [channel => '?text'],
        [ref => '?text'], [wait => 'flag'],
    ],
    lookup => [[booking => '?text'], [request_id => '?text'], [applicant => 'text'], [opening => '?text']],
    find => [[applicant => 'text'], [opening => 'text']],
    availability => [[office => '?text']],
    confirm => [[request_id => 'text'], [booking => 'text'], [reference => '?text']],
    cancel => [[request_id => 'text'], [booking => 'text'], [applicant => 'text']],
    reschedule => [
        [request_id => 'text'], [booking => 'text'], [applicant => 'text'], [choices => 'choices'],
    ],
);

# A payload of one request.
sub write_request {
    my ($operation, $request) = @_;
    return pack('C Q<', 1, 1) . fields($REQUESTS{$operation}, $request);
}

sub fields {
    my ($fields, $of) = @_;
    return join '', map { value($_->[1], $of->{ $_->[0] }) } @$fields;
}

sub value {
    my ($type, $value) = @_;
    if ($type =~ s/^\?//) {
        return defined $value ? "\x01" . value($type, $value) : "\x00";
    }
    return pack 'Q</a', encode_utf8($value) if $type eq 'text';
    return pack 'C', $value ? 1 : 0 if $type eq 'flag';
    return pack 'q<', millis($value) if $type eq 'time';
    return pack('Q<', scalar @$value) . join '', map { value('text', $_) } @$value if $type eq 'texts';
    return pack('Q<', scalar @$value) . join '', map { fields(\@CHOICE, $_) } @$value;
}

# RFC 3339 to milliseconds since 1970.
sub millis {
    my ($year, $month, $day, $hour, $minute, $second, $part, $offset) =
        $_[0] =~ /^(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.(\d{1,3})\d*)?(Z|[-+]\d\d:\d\d)$/i
        or die "not a time: $_[0]\n";
    my $at = timegm($second, $minute, $hour, $day, $month - 1, $year);
    $at -= "${1}1" * ($2 * 3600 + $3 * 60) if $offset =~ /^([-+])(\d\d):(\d\d)$/;
    return $at * 1000 + substr(($part // '') . '000', 0, 3);
}

# The answers of a payload, as JSON has them.
sub read_answers {
    my ($operation, $bytes) = @_;
    my $in = { bytes => $bytes, at => 0 };
    number($in, 'C') == 1 or die "an answer in the binary form begins with 0x01\n";
    my $one = $operation eq 'availability' ? \&overview : \&answer;
    my @answers = map { $one->($in) } 1 .. number($in, 'Q<');
    die "bytes behind the last answer\n" if $in->{at} != length $in->{bytes};
    return @answers;
}

my %BYTES = (C => 1, 'S<' => 2, 'L<' => 4, 'l<' => 4, 'Q<' => 8, 'q<' => 8);

sub taken {
    my ($in, $size) = @_;
    die "the answer ends too early\n" if $in->{at} + $size > length $in->{bytes};
    my $taken = substr $in->{bytes}, $in->{at}, $size;
    $in->{at} += $size;
    return $taken;
}

sub number { my ($in, $format) = @_; return unpack $format, taken($in, $BYTES{$format}) }
sub text { my ($in) = @_; return decode_utf8(taken($in, number($in, 'Q<'))) }
sub flag { my ($in) = @_; return number($in, 'C') ? \1 : \0 }

sub instant {
    my ($in) = @_;
    my $ms = number($in, 'q<');
    my ($second, $minute, $hour, $day, $month, $year) = gmtime int($ms / 1000);
    return sprintf '%04d-%02d-%02dT%02d:%02d:%02d.%03dZ',
        $year + 1900, $month + 1, $day, $hour, $minute, $second, $ms % 1000;
}

# What may be left out is left out.
sub optional {
    my ($in, $name, $read) = @_;
    return number($in, 'C') ? ($name => $read->($in)) : ();
}

sub position {
    my ($in) = @_;
    return { epoch => number($in, 'Q<'), seq => number($in, 'Q<') };
}

# 75 bits as fifteen symbols, and one that checks them.
sub booking_id {
    my ($in) = @_;
    my $bits = substr unpack('B*', taken($in, 10)), 5;
    my ($text, $check) = ('', 0);
    for my $digit (map { oct "0b$_" } $bits =~ /(.{5})/g) {
        $check = doubled($check) ^ $digit;
        $text .= substr SYMBOLS, $digit, 1;
    }
    return join '-', ($text . substr(SYMBOLS, doubled($check), 1)) =~ /(.{4})/g;
}

sub doubled { my $twice = $_[0] << 1; return $twice & 32 ? $twice ^ 37 : $twice }

sub booking {
    my ($in) = @_;
    return {
        id => booking_id($in), version => number($in, 'L<'), status => $STATUS[number($in, 'L<')],
        opening => text($in), office => text($in), date => text($in), session => text($in),
        numbers => [map { number($in, 'S<') } 1 .. number($in, 'Q<')], request_id => text($in),
        optional($in, ref => \&text), optional($in, channel => \&text), granted_at => instant($in),
        optional($in, hold_expires_at => \&instant),
    };
}

sub rejection {
    my ($in) = @_;
    return (
        outcome => 'rejected', reason => $REASONS[number($in, 'S<')], optional($in, detail => \&text),
        optional($in, retry_after_ms => sub { number($_[0], 'Q<') }), optional($in, now => \&instant),
        optional($in, as_of => \&position),
    );
}

sub answer {
    my ($in) = @_;
    my %answer = (request_id => undef, optional($in, request_id => \&text));
    my $variant = number($in, 'L<');
    return { %answer, outcome => 'granted', booking => booking($in), as_of => position($in) } if $variant == 0;
    return { %answer, rejection($in) } if $variant == 1;
    my $entry = { opening => text($in), receipt => booking_id($in) };
    return { %answer, outcome => 'entered', entry => $entry, as_of => position($in) };
}

sub overview {
    my ($in) = @_;
    return { request_id => undef, rejection($in) } if number($in, 'L<') == 1;
    return {
        now => instant($in),
        openings => [map { opening($in) } 1 .. number($in, 'Q<')],
        slots => [map { slot($in) } 1 .. number($in, 'Q<')],
        as_of => position($in),
    };
}

sub opening {
    my ($in) = @_;
    return {
        id => text($in), state => $STATE[number($in, 'L<')], opens_at => instant($in),
        closes_at => instant($in),
    };
}

sub slot {
    my ($in) = @_;
    return {
        opening => text($in), office => text($in), date => text($in), session => text($in),
        quota => number($in, 'L<'), free => number($in, 'l<'), withheld => number($in, 'L<'),
        reserved => number($in, 'L<'), halted => flag($in), bookable => flag($in),
        optional($in, next_release => \&instant),
    };
}

1;
