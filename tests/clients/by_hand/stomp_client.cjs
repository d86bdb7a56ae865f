// stomp-client (STOMP 1.0 for ever): stories of a queue's life. Usage: node stomp_client.cjs PORT
const { randomBytes } = require('node:crypto');
const StompClient = require('stomp-client');

const port = Number(process.argv[2] ?? 61613);
let failed = 0;

function check(what, ok) {
  console.log(`${ok ? 'ok   ' : 'FAIL '}${what}`);
  failed += ok ? 0 : 1;
}

const connect = () => new Promise((resolve, reject) => {
  const client = new StompClient('127.0.0.1', port, 'user', 'secret');
  client.connect((session) => resolve({ client, session }), reject);
});

async function main() {
  const { client, session } = await connect();
  check('session', typeof session === 'string' && session.length > 0);
  const queue = `/queue/sc.${randomBytes(6).toString('hex')}`;
  const got = [];
  let wake = () => {};
  client.subscribe(queue, { ack: 'client' }, (body, headers) => {
    got.push({ body, headers });
    client.ack(headers['message-id']);
    wake();
  });
  const errors = [];
  client.on('error', (error) => errors.push(error));
  for (let n = 0; n < 100; n++) client.publish(queue, `message ${n}`);
  while (got.length < 100) await new Promise((resolve) => { wake = resolve; });
  check('100 messages in order', got.every((each, n) => each.body === `message ${n}`));
  check('destination as subscribed', got.every((each) => each.headers.destination === queue));
  await new Promise((resolve) => client.disconnect(resolve));
  check('disconnect ends', true);
  check('ack without an id is taken', errors.length === 0);
  const second = await connect();
  let more = 0;
  second.client.subscribe(queue, () => { more += 1; });
  second.client.publish(`${queue}.end`, 'x');
  await new Promise((resolve) => second.client.subscribe(`${queue}.end`, () => resolve()));
  check('acknowledged is gone', more === 0);
  second.client.disconnect(() => process.exit(failed ? 1 : 0));
}

main();
