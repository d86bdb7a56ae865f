#!/usr/bin/env php
<?php
// A caller: calls `whee` of the service "demo", whoever serves it. client.php [tcp://127.0.0.1:61613]
$stomp = new Stomp($argv[1] ?? "tcp://127.0.0.1:61613");
$replies = "/queue/rpc.reply." . bin2hex(random_bytes(16));
$stomp->subscribe($replies, ["ack" => "auto"]);

/** Return a function's result. Throws the error that the worker answers, or that nobody did in time. */
function call(string $service, string $method, array $params, float $timeout = 30): mixed
{
    global $stomp, $replies;
    $id = bin2hex(random_bytes(8));
    $until = microtime(true) + $timeout;
    $body = json_encode(["jsonrpc" => "2.0", "method" => $method, "params" => $params, "id" => $id]);
    $stomp->send("/queue/rpc.$service", $body, [
        "content-type" => "application/json", "persistent" => "true",
        "reply-to" => $replies, "correlation-id" => $id, "expires" => (string) floor($until * 1000),
    ]);
    while (!$stomp->error() && ($left = $until - microtime(true)) > 0) {
        $stomp->setReadTimeout((int) $left, (int) (fmod($left, 1) * 1e6));
        $message = $stomp->readFrame();
        if ($message && $message->headers["correlation-id"] == $id) { // else: late, of an earlier call
            $reply = json_decode($message->body, true);
            return isset($reply["error"]) ? throw new Exception($reply["error"]["message"], $reply["error"]["code"]) : $reply["result"];
        }
    }
    throw new Exception($stomp->error() ?: "No reply to $method within $timeout s");
}

echo "Result is: " . json_encode(call("demo", "whee", ["Hello"])) . "\n";
try {
    call("demo", "nothing", []);
} catch (Exception $error) {
    echo "Error {$error->getCode()}: {$error->getMessage()}\n";
}
// Nobody answers a notification; the receipt says that the broker has it.
$body = json_encode(["jsonrpc" => "2.0", "method" => "whee", "params" => ["argument" => "By the way"]]);
$stomp->send("/queue/rpc.demo", $body, ["content-type" => "application/json", "persistent" => "true", "receipt" => "1"]);
