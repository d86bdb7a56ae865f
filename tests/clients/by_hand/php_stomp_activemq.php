<?php
// php-stomp: stories of what ActiveMQ has beyond the specification, as far as its API goes (it has no NACK,
// and holds one message at a time). It runs against ActiveMQ too (with schedulerSupport="true").
// Usage: php php_stomp_activemq.php PORT
$url = "tcp://127.0.0.1:" . ($argv[1] ?? "61613");
$failed = 0;

function check(string $what, bool $ok, mixed $seen = null): void
{
    global $failed;
    echo ($ok ? "ok   " : "FAIL ") . $what . ($ok || $seen === null ? "" : ": " . json_encode($seen)) . "\n";
    $failed += $ok ? 0 : 1;
}

// What the brokers say differently.
function note(string $what, mixed $value): void
{
    echo "     $what: " . json_encode($value) . "\n";
}

function name(string $kind): string
{
    return "/$kind/php." . bin2hex(random_bytes(6));
}

function link_up(string $version, ?string $client = null): Stomp
{
    global $url;
    $headers = $version === "1.0" ? [] : ["accept-version" => $version, "host" => "localhost"];
    $headers += $client === null ? [] : ["client-id" => $client];
    for ($tries = 50;; $tries--) { // ActiveMQ frees a client-id a moment after the link has gone
        try {
            $stomp = new Stomp($url, "user", "secret", $headers);
            $stomp->setReadTimeout(10);
            return $stomp;
        } catch (StompException $error) {
            if ($tries === 0) {
                throw $error;
            }
            usleep(100000);
        }
    }
}

function acknowledge(string $version, Stomp $stomp, StompFrame $frame): bool
{
    // php-stomp's ack() knows no `id`; the header goes along with the others.
    $named = $version === "1.2" ? ["id" => $frame->headers["ack"]] : [];
    return $stomp->ack($frame, $named + ["receipt" => "ack"]);
}

/** Read and acknowledge messages; return them. */
function take(string $version, Stomp $stomp, int $number): array
{
    $found = [];
    for (; $number > 0 && ($frame = $stomp->readFrame()); $number--) {
        acknowledge($version, $stomp, $frame);
        $found[] = $frame;
    }
    return $found;
}

function bodies(array $frames): array
{
    return array_map(fn($frame) => $frame->body, $frames);
}

function quiet(Stomp $stomp): bool
{
    $stomp->setReadTimeout(0, 400000);
    $nothing = $stomp->readFrame() === false;
    $stomp->setReadTimeout(10);
    return $nothing;
}

/** Return the words of the ERROR that something brings. */
function refusal(Stomp $stomp, callable $something): ?string
{
    try {
        return $something() ? null : (string) $stomp->error();
    } catch (StompException $error) {
        return $error->getMessage();
    }
}

foreach (["1.0", "1.1", "1.2"] as $version) {
    $id = ["id" => "s", "receipt" => "r"];

    $topic = name("topic");
    $client = "php-" . bin2hex(random_bytes(4));
    $durable = ["activemq.subscriptionName" => $version === "1.0" ? $client : "news"] + $id;
    $stomp = link_up($version, $client);
    check("$version durable: subscribed", $stomp->subscribe($topic, $durable));
    unset($stomp);
    $writer = link_up($version);
    foreach (["one", "two"] as $body) {
        $writer->send($topic, $body, ["persistent" => "true", "receipt" => $body]);
    }
    $stomp = link_up($version, $client);
    $stomp->subscribe($topic, $durable);
    $missed = bodies(take($version, $stomp, 2));
    check("$version durable: what was missed", $missed === ["one", "two"], $missed);
    $refusal = refusal($stomp, fn() => $stomp->unsubscribe($topic, $durable));
    check("$version durable: cannot be ended while it is attached", $refusal !== null);
    note("$version durable: error", strtok((string) $refusal, "\n"));
    check("$version durable: detached", $stomp->unsubscribe($topic, $id));
    check("$version durable: ended", $stomp->unsubscribe($topic, $durable));
    $writer->send($topic, "after its end", ["persistent" => "true", "receipt" => "x"]);
    $stomp->subscribe($topic, ["id" => "again"] + $durable);
    check("$version durable: nothing from after its end", quiet($stomp));
    $stomp->unsubscribe($topic, ["id" => "again"] + $id);
    $stomp->unsubscribe($topic, ["id" => "again"] + $durable);
    unset($stomp);

    $queue = name("queue");
    $stomp = link_up($version);
    foreach ([["red", 50], ["red", 150], ["blue", 500], ["red", 1000]] as $n => [$color, $amount]) {
        $stomp->send($queue, "$color $amount", ["color" => $color, "amount" => (string) $amount, "receipt" => "s-$n"]);
    }
    $stomp->subscribe($queue, $id + ["selector" => "color = 'red' AND amount > 100"]);
    $found = bodies(take($version, $stomp, 2));
    check("$version selector: what it means, in order", $found === ["red 150", "red 1000"] && quiet($stomp), $found);
    unset($stomp);

    $queue = name("queue");
    $stomp = link_up($version);
    $stomp->subscribe("/temp-queue/answers", $id);
    $writer->subscribe($queue, $id);
    $stomp->send($queue, "2 + 2", ["reply-to" => "/temp-queue/answers", "correlation-id" => "c-1", "receipt" => "q"]);
    [$question] = take($version, $writer, 1);
    $to = $question->headers["reply-to"];
    // php-stomp does not undo escapes; what it echoes is escaped already.
    check("$version request: reply-to is what others may use", str_starts_with($to, "/remote-temp-queue/"), $to);
    $plain = $version === "1.0" ? $to : str_replace("\\c", ":", $to);
    $writer->send($plain, "4", ["correlation-id" => $question->headers["correlation-id"], "receipt" => "a"]);
    [$answer] = take($version, $stomp, 1);
    check("$version request: answered", $answer->body === "4" && $answer->headers["correlation-id"] === "c-1", $answer);
    note("$version request: reply-to reads the same unescaped", $plain === $to);
    $writer->unsubscribe($queue, $id);
    unset($stomp);

    $queue = name("queue");
    $mark = bin2hex(random_bytes(4));
    $stomp = link_up($version);
    $now = (int) (microtime(true) * 1000);
    $stomp->send($queue, "late", ["expires" => (string) ($now - 1000), "mark" => $mark, "persistent" => "true", "receipt" => "late"]);
    $stomp->subscribe($queue, $id);
    check("$version dead letter: what has expired does not come", quiet($stomp));
    $stomp->unsubscribe($queue, $id);
    $stomp->subscribe("/queue/ActiveMQ.DLQ", ["id" => "dlq", "receipt" => "d", "selector" => "mark = '$mark'"]);
    [$dead] = take($version, $stomp, 1);
    check("$version dead letter: but is a dead letter", $dead && $dead->body === "late" && $dead->headers["original-destination"] === $queue, $dead);
    note("$version dead letter: headers", array_intersect(["dlqDeliveryFailureCause", "originalExpiration", "expires"], array_keys($dead->headers)));
    unset($stomp);

    $queue = name("queue");
    $stomp = link_up($version);
    if ($version !== "1.0") {
        foreach (["a", "b"] as $body) {
            $stomp->send($queue, $body, ["receipt" => $body]);
        }
        $stomp->subscribe($queue, $id + ["browser" => "true", "ack" => "auto", "activemq.prefetchSize" => "10"]);
        $seen = [$stomp->readFrame(), $stomp->readFrame(), $stomp->readFrame()];
        check("$version browse: all, and the end is marked", $seen[2] && $seen[2]->headers["browser"] === "end" && bodies(array_slice($seen, 0, 2)) === ["a", "b"], $seen);
        $stomp->unsubscribe($queue, $id);
        $stomp->subscribe($queue, $id);
        check("$version browse: nothing was taken", bodies(take($version, $stomp, 2)) === ["a", "b"]);
        $stomp->unsubscribe($queue, $id);
    }
    $stomp->subscribe($queue, $id);
    $begun = microtime(true);
    $stomp->send($queue, "later", ["AMQ_SCHEDULED_DELAY" => "1500", "persistent" => "true", "receipt" => "later"]);
    $stomp->send($queue, "now", ["receipt" => "now"]);
    $found = bodies(take($version, $stomp, 2));
    $after = microtime(true) - $begun;
    check("$version delay", $found === ["now", "later"] && $after > 1.0 && $after < 3.5, [$found, $after]);
    unset($stomp);

    $root = name("topic");
    $queue = name("queue");
    $stomp = link_up($version);
    $stomp->subscribe("$root.>", $id + ["ack" => "auto", "activemq.prefetchSize" => "10"]);
    $stomp->subscribe($queue, ["id" => "t", "receipt" => "t", "ack" => "auto"]);
    $writer->send("$root.x.y", "deep", ["receipt" => "1"]);
    $frame = $stomp->readFrame();
    check("$version wildcard: says the concrete one", $frame && $frame->headers["destination"] === "$root.x.y", $frame);
    $writer->send("$queue,$root.z", "both", ["receipt" => "2"]);
    $found = [$stomp->readFrame(), $stomp->readFrame()];
    $where = array_map(fn($frame) => $frame->headers["subscription"], $found);
    sort($where);
    check("$version composite: a copy for each", $where === ["s", "t"] && bodies($found) === ["both", "both"], $found);
    unset($stomp);

    $queue = name("queue");
    [$first, $second] = [link_up($version), link_up($version)];
    $first->subscribe($queue, $id + ["activemq.exclusive" => "true"]);
    $second->subscribe($queue, $id + ["activemq.exclusive" => "true"]);
    foreach (["1", "2", "3"] as $body) {
        $writer->send($queue, $body, ["receipt" => $body]);
    }
    $found = bodies(take($version, $first, 2));
    check("$version exclusive: one gets all", $found === ["1", "2"] && quiet($second), $found);
    unset($first);
    check("$version exclusive: then the next one", bodies(take($version, $second, 1)) === ["3"]);
    unset($second);

    $queue = name("queue");
    $takers = [link_up($version), link_up($version)];
    foreach ($takers as $taker) {
        $taker->subscribe($queue, $id + ["ack" => "auto"]);
    }
    foreach (["a0", "b0", "a1", "b1", "a2", "b2"] as $body) {
        $writer->send($queue, $body, ["JMSXGroupID" => $body[0], "receipt" => $body]);
    }
    $found = array_map(fn($taker) => bodies([$taker->readFrame(), $taker->readFrame(), $taker->readFrame()]), $takers);
    sort($found);
    check("$version groups: a consumer for each, in order", $found === [["a0", "a1", "a2"], ["b0", "b1", "b2"]], $found);
    unset($takers, $taker, $writer);
}
exit($failed ? 1 : 0);
