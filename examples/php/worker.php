#!/usr/bin/env php
<?php
// A worker: offers the functions below as the service "demo", one call at a time, until it is killed.
// worker.php [tcp://127.0.0.1:61613]
$functions = [
    "whee" => function (string $argument) {
        echo "Remote function called with argument: $argument\n";
        return ["Whee" => 123];
    },
    "divide" => fn(float $a, float $b) => $a / $b,
    "rpc.ping" => fn() => "pong",
];

/** Return the response to one request; null if nobody wants any. */
function respond(array $functions, mixed $request): ?array
{
    try {
        $name = $request["method"] ?? throw new Error("This is no request", isset($request) ? -32600 : -32700);
        $function = $functions[$name] ?? throw new Error("There is no function $name", -32601);
        $answer = ["result" => $function(...$request["params"] ?? [])]; // a list, or by name
    } catch (ArgumentCountError | TypeError $error) {
        $answer = ["error" => ["code" => -32602, "message" => $error->getMessage()]];
    } catch (Throwable $error) {
        $code = is_int($error->getCode()) && $error->getCode() < -32000 ? $error->getCode() : -32000;
        $data = ["type" => $error::class, "message" => $error->getMessage()];
        $answer = ["error" => ["code" => $code, "message" => $error->getMessage(), "data" => $data]];
    }
    $is_notification = isset($name) && !array_key_exists("id", $request);
    return $is_notification ? null : ["jsonrpc" => "2.0", "id" => $request["id"] ?? null] + $answer;
}

$stomp = new Stomp($argv[1] ?? "tcp://127.0.0.1:61613");
$stomp->subscribe("/queue/rpc.demo", ["ack" => "client-individual", "activemq.prefetchSize" => "1"]);
$stomp->subscribe("/topic/rpc.demo", ["ack" => "auto", "receipt" => "ready"]);
echo "The worker is ready\n";
while (!$stomp->error()) {
    try {
        $message = $stomp->readFrame();
    } catch (StompException $refused) { // a reply to a queue that is gone, for one
        $message = false;
    }
    if (!$message) {
        continue; // nobody has called for a while
    }
    $asked = json_decode($message->body, true);
    $is_batch = is_array($asked) && $asked && array_is_list($asked);
    $responses = array_filter(array_map(fn($each) => respond($functions, $each), $is_batch ? $asked : [$asked]));
    $headers = array_intersect_key($message->headers, array_flip(["correlation-id", "expires", "persistent"]));
    $everyone = $message->headers["destination"] == "/topic/rpc.demo";
    if ($responses && isset($message->headers["reply-to"])) {
        $headers += ["content-type" => "application/json"] + ($everyone ? ["worker" => "php-" . getmypid()] : []);
        $stomp->send($message->headers["reply-to"], json_encode($is_batch ? array_values($responses) : $responses[0]), $headers);
    }
    $everyone || $stomp->ack($message); // behind the reply: a call whose worker dies goes to another
}
fwrite(STDERR, $stomp->error() . "\n");
exit(1); // whoever supervises this program starts it again
