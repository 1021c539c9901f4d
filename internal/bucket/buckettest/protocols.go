package buckettest

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/xml"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
	"time"
)

// request is what a client asks for, whatever the protocol.
type request struct {
	operation  string // "create", "get", "list", "retention" or "properties"; empty for any other
	key, after string // for a list, the key is the prefix
	body       []byte
	detailed   bool // a list that says what keeps each object
	// wrong is the code of a refusal for a request that this program must not make.
	wrong string
}

// protocol is how a store is spoken to.
type protocol struct {
	read    func(r *http.Request, body []byte) request
	refuse  func(w http.ResponseWriter, status int, code string)
	listing func(w http.ResponseWriter, all []listed, more, detailed bool)
	// exists is the status and the code of an object that exists.
	exists int
	code   string
}

// listed is an object in a list.
type listed struct {
	key string
	Kept
}

// protocolOf tells the protocols apart.
func protocolOf(r *http.Request) protocol {
	switch {
	case r.Header.Get("x-ms-version") != "":
		return azure
	case strings.HasPrefix(r.URL.Path, "/storage/v1/") || strings.HasPrefix(r.URL.Path, "/upload/storage/v1/"):
		return gcs
	}
	return amazon
}

// amazon follows https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes.html and
// https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html.
var amazon = protocol{
	exists: http.StatusPreconditionFailed, code: "PreconditionFailed",
	read: func(r *http.Request, body []byte) request {
		key, ok := strings.CutPrefix(r.URL.Path, "/"+Bucket)
		q := request{operation: operations[r.Method], key: strings.TrimPrefix(key, "/"), body: body,
			after: r.URL.Query().Get("start-after")}
		sum := sha256.Sum256(body)
		switch {
		case !ok:
			q.wrong = "NoSuchBucket"
		case !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 "):
			q.wrong = "AccessDenied"
		case q.operation == "create" && r.Header.Get("If-None-Match") != "*":
			q.wrong = "Unconditional"
		case q.operation == "create" && r.Header.Get("X-Amz-Content-Sha256") != hex.EncodeToString(sum[:]):
			q.wrong = "XAmzContentSHA256Mismatch"
		case q.operation == "get" && q.key == "":
			q.operation, q.key = "list", r.URL.Query().Get("prefix")
		case q.operation == "get" && r.URL.Query().Has("retention"):
			q.operation = "retention"
		}
		return q
	},
	refuse: func(w http.ResponseWriter, status int, code string) {
		w.WriteHeader(status)
		writeXML(w, struct {
			XMLName xml.Name `xml:"Error"`
			Code    string
		}{Code: code})
	},
	listing: func(w http.ResponseWriter, all []listed, more, _ bool) {
		type content struct{ Key string }
		answer := struct {
			XMLName     xml.Name `xml:"ListBucketResult"`
			KeyCount    int
			IsTruncated bool
			Contents    []content
		}{KeyCount: len(all), IsTruncated: more}
		for _, o := range all {
			answer.Contents = append(answer.Contents, content{o.key})
		}
		writeXML(w, answer)
	},
}

var operations = map[string]string{http.MethodPut: "create", http.MethodGet: "get"}

func writeXML(w http.ResponseWriter, of any) {
	w.Header().Set("Content-Type", "application/xml")
	_ = xml.NewEncoder(w).Encode(of)
}

// gcs follows https://cloud.google.com/storage/docs/request-preconditions and
// https://cloud.google.com/storage/docs/json_api/v1/objects/list, whose startOffset is inclusive.
var gcs = protocol{
	exists: http.StatusPreconditionFailed, code: "conditionNotMet",
	read: func(r *http.Request, body []byte) request {
		query := r.URL.Query()
		key, ok := strings.CutPrefix(strings.TrimPrefix(r.URL.Path, "/upload"), "/storage/v1/b/"+Bucket+"/o")
		q := request{operation: operations[r.Method], key: strings.TrimPrefix(key, "/")}
		switch {
		case !ok:
			q.wrong = "notFound"
		case r.Method == http.MethodPost && query.Get("ifGenerationMatch") != "0":
			q.wrong = "unconditional"
		case r.Method == http.MethodPost:
			q.operation = "create"
			q.key, q.body, ok = uploaded(r.Header.Get("Content-Type"), body)
			if !ok {
				q.wrong = "invalid"
			}
		case q.operation == "get" && q.key == "":
			q.operation, q.key = "list", query.Get("prefix")
			q.detailed = strings.Contains(query.Get("fields"), "retentionExpirationTime,retention")
			if from := query.Get("startOffset"); from != "" {
				q.after = from[:len(from)-1] + string(from[len(from)-1]-1) + "~" // the last name before it
			}
		case q.operation == "get" && query.Get("alt") != "media":
			q.wrong = "notMedia"
		}
		return q
	},
	refuse: func(w http.ResponseWriter, status int, code string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"error": map[string]any{"code": status, "message": code}})
	},
	listing: func(w http.ResponseWriter, all []listed, more, detailed bool) {
		type retention struct {
			Mode  string    `json:"mode"`
			Until time.Time `json:"retainUntilTime"`
		}
		type item struct {
			Name      string     `json:"name"`
			Policy    time.Time  `json:"retentionExpirationTime,omitzero"`
			Retention *retention `json:"retention,omitempty"`
		}
		answer := struct {
			Items []item `json:"items,omitempty"`
			Next  string `json:"nextPageToken,omitempty"`
		}{}
		for _, o := range all {
			i := item{Name: o.key}
			switch {
			case detailed && o.Mode != "":
				i.Retention = &retention{o.Mode, o.Until}
			case detailed:
				i.Policy = o.Until
			}
			answer.Items = append(answer.Items, i)
		}
		if more {
			answer.Next = "more"
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(answer)
	},
}

// uploaded reads the two parts of an upload: the name and the object.
func uploaded(contentType string, body []byte) (key string, object []byte, ok bool) {
	_, parameters, err := mime.ParseMediaType(contentType)
	if err != nil {
		return "", nil, false
	}
	parts := multipart.NewReader(strings.NewReader(string(body)), parameters["boundary"])
	var all [][]byte
	for {
		part, err := parts.NextRawPart()
		if err != nil {
			break
		}
		text, err := io.ReadAll(part)
		if err != nil {
			return "", nil, false
		}
		all = append(all, text)
	}
	var named struct{ Name string }
	if len(all) != 2 || json.Unmarshal(all[0], &named) != nil {
		return "", nil, false
	}
	return named.Name, all[1], true
}

// azure follows https://learn.microsoft.com/rest/api/storageservices/put-blob and
// https://learn.microsoft.com/rest/api/storageservices/list-blobs. A blob that exists is a 409 there.
var azure = protocol{
	exists: http.StatusConflict, code: "BlobAlreadyExists",
	read: func(r *http.Request, body []byte) request {
		query := r.URL.Query()
		key, ok := strings.CutPrefix(r.URL.Path, "/"+Bucket)
		q := request{operation: operations[r.Method], key: strings.TrimPrefix(key, "/"), body: body}
		switch {
		case !ok:
			q.wrong = "ContainerNotFound"
		case query.Get("sig") != "signed" && r.Header.Get("Authorization") == "":
			q.wrong = "NoAuthenticationInformation"
		case q.operation == "create" && (r.Header.Get("If-None-Match") != "*" ||
			r.Header.Get("x-ms-blob-type") != "BlockBlob"):
			q.wrong = "Unconditional"
		case q.operation == "get" && query.Get("comp") == "list":
			q.operation, q.key, q.after = "list", query.Get("prefix"), query.Get("marker")
			q.detailed = query.Get("include") == "immutabilitypolicy,legalhold"
		case q.operation == "get" && q.key == "" && query.Get("restype") == "container":
			q.operation = "properties"
		}
		return q
	},
	refuse: func(w http.ResponseWriter, status int, code string) {
		w.Header().Set("x-ms-error-code", code)
		w.WriteHeader(status)
	},
	listing: func(w http.ResponseWriter, all []listed, more, detailed bool) {
		type blob struct {
			Name  string
			Until string `xml:"Properties>ImmutabilityPolicyUntilDate,omitempty"`
			Mode  string `xml:"Properties>ImmutabilityPolicyMode,omitempty"`
		}
		answer := struct {
			XMLName    xml.Name `xml:"EnumerationResults"`
			Blobs      []blob   `xml:"Blobs>Blob"`
			NextMarker string
		}{}
		for _, o := range all {
			b := blob{Name: o.key}
			if detailed && !o.Until.IsZero() {
				b.Until, b.Mode = o.Until.UTC().Format(http.TimeFormat), o.Mode
			}
			answer.Blobs = append(answer.Blobs, b)
		}
		if more {
			answer.NextMarker = all[len(all)-1].key
		}
		writeXML(w, answer)
	},
}
