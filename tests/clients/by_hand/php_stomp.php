<?php
// php-stomp: stories of a queue's life. Usage: php php_stomp.php PORT
$url = "tcp://127.0.0.1:" . ($argv[1] ?? "61613");
$failed = 0;

function check(string $what, bool $ok): void
{
    global $failed;
    echo ($ok ? "ok   " : "FAIL ") . $what . "\n";
    $failed += $ok ? 0 : 1;
}

function queue(): string
{
    return "/queue/php." . bin2hex(random_bytes(6));
}

foreach ([null, "1.1", "1.2"] as $version) {
    $name = $version ?? "1.0";
    $headers = $version === null ? [] : ["accept-version" => $version, "host" => "localhost"];
    $connect = fn() => new Stomp($url, "user", "secret", $headers);
    $id = $version === null ? [] : ["id" => "s"];

    $stomp = $connect();
    check("$name session id", strlen($stomp->getSessionId()) > 0);

    $queue = queue();
    check("$name send with receipt", $stomp->send($queue, "hello", ["receipt" => "r-1", "color" => "red"]));
    check("$name send again", $stomp->send($queue, "", ["receipt" => "r-2"]));
    $stomp->setReadTimeout(2);
    check("$name subscribe", $stomp->subscribe($queue, $id + ["receipt" => "r-3"]));
    $first = $stomp->readFrame();
    check("$name body and header", $first && $first->body === "hello" && $first->headers["color"] === "red");
    $second = $stomp->readFrame();
    check("$name empty body", $second && (string) $second->body === ""); // php-stomp makes it null
    if ($version === "1.2") { // php-stomp's ack() knows no `id`; the header goes along with the others
        $ok = $stomp->ack($first, ["id" => $first->headers["ack"], "receipt" => "a-1"])
            && $stomp->ack($second, ["id" => $second->headers["ack"], "receipt" => "a-2"]);
    } else {
        $ok = $stomp->ack($first, ["receipt" => "a-1"]) && $stomp->ack($second, ["receipt" => "a-2"]);
    }
    check("$name ack with the frame", $ok);
    check("$name nothing more", $stomp->hasFrame() === false);
    unset($stomp);

    $stomp = $connect();
    $stomp->setReadTimeout(0, 300000);
    $stomp->subscribe($queue, $id + ["receipt" => "r"]);
    check("$name acknowledged is gone", $stomp->readFrame() === false);
    unset($stomp);

    $queue = queue();
    $stomp = $connect();
    check("$name begin", $stomp->begin("t", ["receipt" => "b"]));
    $stomp->send($queue, "in", ["transaction" => "t", "receipt" => "s"]);
    check("$name commit", $stomp->commit("t", ["receipt" => "c"]));
    $stomp->begin("u");
    $stomp->send($queue, "out", ["transaction" => "u"]);
    check("$name abort", $stomp->abort("u", ["receipt" => "d"]));
    $stomp->subscribe($queue, $id + ["ack" => "auto", "receipt" => "e"]);
    $frame = $stomp->readFrame();
    check("$name committed arrives", $frame && $frame->body === "in");
    $stomp->setReadTimeout(0, 300000);
    check("$name aborted does not", $stomp->readFrame() === false);
    unset($stomp);

    $queue = queue();
    $stomp = $connect();
    $stomp->subscribe($queue, $id + ["ack" => "auto", "receipt" => "e"]);
    for ($n = 0; $n < 200; $n++) {
        $stomp->send($queue, "message $n");
    }
    $right = true;
    for ($n = 0; $n < 200; $n++) {
        $frame = $stomp->readFrame();
        $right = $right && $frame && $frame->body === "message $n";
    }
    check("$name 200 messages that arrive together", $right);
    $path = 'C:\temp\new';
    $stomp->send($queue, str_repeat("x", 100000), ["path" => $path]);
    $frame = $stomp->readFrame();
    check("$name large body", $frame && strlen($frame->body) === 100000);
    if ($version === null) {
        check("$name backslashes survive", $frame->headers["path"] === $path);
    }
    unset($stomp);

    $stomp = $connect();
    try {
        $ok = $stomp->commit("never begun", ["receipt" => "x"]);
        check("$name error is told", $ok === false && strpos((string) $stomp->error(), "Invalid transaction") !== false);
    } catch (StompException $error) {
        check("$name error is thrown", strpos($error->getMessage(), "Invalid transaction") !== false);
    }
    check("$name goes on after an error", $stomp->send(queue(), "x", ["receipt" => "y"]));
    unset($stomp);
}

try {
    new Stomp($url, "user", "secret", ["accept-version" => "7.0"]);
    check("unknown version is refused", false);
} catch (StompException $error) {
    check("unknown version is refused", strpos($error->getMessage(), "Supported protocol versions") !== false);
}
exit($failed ? 1 : 0);
