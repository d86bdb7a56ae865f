#!/usr/bin/perl
# Net::Stomp: stories of what ActiveMQ has beyond the specification. It runs against ActiveMQ too (with
# schedulerSupport="true"). Usage: perl net_stomp_activemq.pl PORT
use strict;
use warnings;
use Net::Stomp;
use Time::HiRes qw(time);

my $port    = $ARGV[0] || 61613;
my $failed  = 0;
my $number  = 0;
my $version = "";

sub check {
    my ( $what, $ok, $seen ) = @_;
    print( ( $ok ? "ok   " : "FAIL " ) . "$version $what" . ( $ok || !defined $seen ? "" : ": $seen" ) . "\n" );
    $failed++ unless $ok;
}

# What the brokers say differently.
sub note { my ( $what, $value ) = @_; print "     $version $what: " . ( $value // "-" ) . "\n" }

sub name { return "/$_[0]/perl." . int( rand(1e9) ) . "." . $number++ }

sub link_up {
    my (%more) = @_;
    my %hello = $version eq "1.0" ? () : ( "accept-version" => $version, host => "localhost" );
    for ( 1 .. 50 ) {    # ActiveMQ frees a client-id a moment after DISCONNECT
        my $stomp = Net::Stomp->new( { hostname => "127.0.0.1", port => $port } );
        my $frame = $stomp->connect( { login => "user", passcode => "secret", %hello, %more } );
        return $stomp if $frame->command eq "CONNECTED";
        select( undef, undef, undef, 0.1 );
    }
    die "cannot connect";
}

# Subscribe or unsubscribe, confirmed: Net::Stomp sends whatever headers it is given. Returns the RECEIPT or ERROR.
sub ask {
    my ( $stomp, $verb, %headers ) = @_;
    my $receipt = "r" . $number++;
    $stomp->$verb( { id => "s", receipt => $receipt, %headers } );
    return $stomp->receive_frame( { timeout => 10 } );
}

sub publish {
    my ( $stomp, $destination, $body, %headers ) = @_;
    # From 1.1 on send_with_receipt() works with hoofbeat only: it makes its receipt of the session's name, and
    # does not recognise it when the colons of ActiveMQ's come back escaped.
    my $frame = ask( $stomp, "send", destination => $destination, body => $body, %headers );
    die "not sent: $body" unless $frame && $frame->command eq "RECEIPT";
}

# Net::Stomp's ack() and nack() know the message-id; what later versions want besides goes along.
sub answer {
    my ( $stomp, $verb, $frame ) = @_;
    my %named =
        $version eq "1.1" ? ( subscription => $frame->headers->{subscription} )
      : $version eq "1.2" ? ( id           => $frame->headers->{ack} )
      :                     ();
    $stomp->$verb( { frame => $frame, %named } );
}

sub take {
    my ( $stomp, $count, $verb ) = @_;
    my @found;
    while ( $count-- ) {
        my $frame = $stomp->receive_frame( { timeout => 10 } ) or last;
        answer( $stomp, $verb, $frame ) if $verb;
        push @found, $frame;
    }
    return @found;
}

sub bodies { return join " ", map { $_->body } @_ }
sub quiet { return !$_[0]->can_read( { timeout => 0.4 } ) }

sub durable {
    my $topic  = name("topic");
    my $client = "perl-" . int( rand(1e9) );
    my @named  = ( destination => $topic, "activemq.subscriptionName" => $version eq "1.0" ? $client : "news" );
    my $reader = link_up( "client-id" => $client );
    ask( $reader, "subscribe", @named, ack => "client" );
    $reader->disconnect;
    my $writer = link_up();
    publish( $writer, $topic, $_, persistent => "true" ) for qw(one two);
    $reader = link_up( "client-id" => $client );
    ask( $reader, "subscribe", @named, ack => "client" );
    my $missed = bodies( take( $reader, 2, "ack" ) );
    check( "durable: what was missed", $missed eq "one two", $missed );
    my $error = ask( $reader, "unsubscribe", @named );
    check( "durable: cannot be ended while it is attached", $error->command eq "ERROR", $error->as_string );
    note( "durable: error", $error->headers->{message} );
    check( "durable: detached", ask( $reader, "unsubscribe", destination => $topic )->command eq "RECEIPT" );
    check( "durable: ended",    ask( $reader, "unsubscribe", @named )->command eq "RECEIPT" );
    publish( $writer, $topic, "after its end", persistent => "true" );
    ask( $reader, "subscribe", @named );
    check( "durable: nothing from after its end", quiet($reader) );
    ask( $reader, "unsubscribe", destination => $topic );
    ask( $reader, "unsubscribe", @named );
    $_->disconnect for $reader, $writer;
}

sub selector {
    my ( $stomp, $queue ) = ( link_up(), name("queue") );
    publish( $stomp, $queue, "$_->[0]$_->[1]", color => $_->[0], amount => $_->[1] )
      for [ "red", 50 ], [ "red", 150 ], [ "blue", 500 ], [ "red", 1000 ];
    ask( $stomp, "subscribe", destination => $queue, selector => "color = 'red' AND amount > 100" );
    my $found = bodies( take( $stomp, 2 ) );
    check( "selector: what it means, in order", $found eq "red150 red1000" && quiet($stomp), $found );
    ask( $stomp, "unsubscribe", destination => $queue );
    ask( $stomp, "subscribe",   destination => $queue );
    $found = bodies( take( $stomp, 2 ) );
    check( "selector: the rest is still there", $found eq "red50 blue500" && quiet($stomp), $found );
    $stomp->disconnect;
}

sub request {
    my ( $asks, $answers, $queue ) = ( link_up(), link_up(), name("queue") );
    ask( $asks,    "subscribe", destination => "/temp-queue/answers" );
    ask( $answers, "subscribe", destination => $queue );
    publish( $asks, $queue, "2 + 2", "reply-to" => "/temp-queue/answers", "correlation-id" => "c-1" );
    my ($question) = take( $answers, 1 );
    my $to = $question->headers->{"reply-to"};
    check( "request: reply-to is what others may use", $to =~ m{^/remote-temp-queue/}, $to );
    ( my $plain = $to ) =~ s/\\c/:/g;    # Net::Stomp does not undo escapes
    note( "request: reply-to reads the same unescaped", $version eq "1.0" || $plain eq $to ? "yes" : "no" );
    publish( $answers, $plain, "4", "correlation-id" => "c-1" );
    my ($answer) = take( $asks, 1 );
    check( "request: answered", $answer->body eq "4" && $answer->headers->{"correlation-id"} eq "c-1", $answer->as_string );
    $_->disconnect for $asks, $answers;
}

sub dead_letters {
    my ( $stomp, $queue, $mark ) = ( link_up(), name("queue"), int( rand(1e9) ) );
    publish( $stomp, $queue, "poison", mark => "m$mark", persistent => "true" );
    ask( $stomp, "subscribe", destination => $queue, ack => "client" );
    my ($refused) = take( $stomp, 1, "nack" );
    ask( $stomp, "subscribe", destination => "/queue/ActiveMQ.DLQ", id => "dlq", selector => "mark = 'm$mark'" );
    my ($dead) = take( $stomp, 1 );
    check( "dead letter: is in ActiveMQ.DLQ", $dead && $dead->body eq "poison", $dead && $dead->as_string );
    check( "dead letter: says where it was", $dead->headers->{"original-destination"} eq $queue, $dead->as_string );
    check( "dead letter: its own id", $dead->headers->{"message-id"} eq $refused->headers->{"message-id"} );
    note( "dead letter: cause", $dead->headers->{dlqDeliveryFailureCause} );
    $stomp->disconnect;
}

sub browse {
    my ( $stomp, $queue ) = ( link_up(), name("queue") );
    publish( $stomp, $queue, $_ ) for qw(a b c);
    ask( $stomp, "subscribe", destination => $queue, browser => "true" );
    my @seen = take( $stomp, 4 );
    check( "browse: all, in order", bodies( @seen[ 0 .. 2 ] ) eq "a b c", bodies(@seen) );
    check( "browse: the end is marked", $seen[3]->headers->{browser} eq "end", $seen[3]->as_string );
    ask( $stomp, "unsubscribe", destination => $queue );
    ask( $stomp, "subscribe",   destination => $queue );
    check( "browse: nothing was taken", bodies( take( $stomp, 3 ) ) eq "a b c" );
    $stomp->disconnect;
}

sub delayed {
    my ( $stomp, $queue ) = ( link_up(), name("queue") );
    publish( $stomp, $queue, "later", AMQ_SCHEDULED_DELAY => 1500, persistent => "true" );
    my $begun = time;
    publish( $stomp, $queue, "now" );
    ask( $stomp, "subscribe", destination => $queue );
    my $found = bodies( take( $stomp, 2 ) );
    my $after = time - $begun;
    check( "delay", $found eq "now later" && $after > 1.0 && $after < 3.5, "$found after $after" );
    $stomp->disconnect;
}

sub wildcards {
    my ( $stomp, $writer, $root ) = ( link_up(), link_up(), name("topic") );
    ask( $stomp, "subscribe", destination => "$root.*.price" );
    publish( $writer, "$root.a.price", "yes" );
    publish( $writer, "$root.a.b.price", "no" );
    my ($found) = take( $stomp, 1 );
    check( "wildcard: says the concrete one", $found->headers->{destination} eq "$root.a.price" && quiet($stomp), $found->as_string );
    $_->disconnect for $stomp, $writer;
}

sub composite {
    my ( $stomp, $writer, $queue, $topic ) = ( link_up(), link_up(), name("queue"), name("topic") );
    ask( $stomp, "subscribe", destination => $queue, id => "q" );
    ask( $stomp, "subscribe", destination => $topic, id => "t" );
    publish( $writer, "$queue,$topic", "both" );
    my $found = join " ", sort map { $_->headers->{subscription} } take( $stomp, 2 );
    check( "composite: a copy for each", $found eq "q t", $found );
    $_->disconnect for $stomp, $writer;
}

sub exclusive {
    my ( $first, $second, $writer, $queue ) = ( link_up(), link_up(), link_up(), name("queue") );
    ask( $_, "subscribe", destination => $queue, ack => "client", "activemq.exclusive" => "true" ) for $first, $second;
    publish( $writer, $queue, $_ ) for 1 .. 4;
    my @held = take( $first, 4 );
    check( "exclusive: one gets all", bodies(@held) eq "1 2 3 4" && quiet($second), bodies(@held) );
    answer( $first, "ack", $held[1] );    # both, as it is cumulative
    $first->disconnect;
    my $rest = bodies( take( $second, 2, "ack" ) );
    check( "exclusive: then the next one", $rest eq "3 4", $rest );
    $_->disconnect for $second, $writer;
}

sub groups {
    my ( $first, $second, $writer, $queue ) = ( link_up(), link_up(), link_up(), name("queue") );
    ask( $_, "subscribe", destination => $queue ) for $first, $second;
    publish( $writer, $queue, $_, JMSXGroupID => substr( $_, 0, 1 ) ) for qw(a0 b0 a1 b1 a2 b2);
    my @found = sort map { bodies( take( $_, 3 ) ) } $first, $second;
    check( "groups: a consumer for each, in order", "@found" eq "a0 a1 a2 b0 b1 b2", "@found" );
    $_->disconnect for $first, $second, $writer;
}

for ( "1.0", "1.1", "1.2" ) {
    $version = $_;
    my @stories = ( \&durable, \&selector, \&request, \&delayed, \&wildcards, \&composite, \&exclusive, \&groups );
    push @stories, \&dead_letters, \&browse if $version ne "1.0";
    $_->() for @stories;
}
exit( $failed ? 1 : 0 );
