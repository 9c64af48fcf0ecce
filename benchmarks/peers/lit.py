"""The same network in LitServe: python lit.py PORT MODEL.onnx BATCH."""

import sys

import litserve
import numpy as np
import onnxruntime


class Network(litserve.LitAPI):
    def setup(self, device):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(sys.argv[2], options, providers=["CPUExecutionProvider"])

    def decode_request(self, request):
        return np.asarray(request["inputs"][0]["data"], "float32")

    def batch(self, inputs):
        return np.stack(inputs)

    def predict(self, rows):
        return self.session.run(None, {"x": rows.reshape(-1, rows.shape[-1])})[0]

    def unbatch(self, output):
        return list(output)

    def encode_response(self, output):
        return {"y": np.asarray(output).ravel().tolist()}


if __name__ == "__main__":
    size = int(sys.argv[3])
    api = Network(max_batch_size=size, batch_timeout=0.001 if size > 1 else 0.0)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=int(sys.argv[1]), log_level="error", generate_client_file=False, access_log=False)
