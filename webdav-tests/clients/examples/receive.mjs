// The receiver of docs/examples/kalends.ts: prints its port, then each message that it believes.
import { receiver } from "./kalends.js";

const server = receiver(process.argv[2], (message) => console.log(JSON.stringify(message)));
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
