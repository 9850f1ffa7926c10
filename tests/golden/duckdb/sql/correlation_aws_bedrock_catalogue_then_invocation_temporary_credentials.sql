WITH matched AS (
    SELECT * FROM cloudtrail CROSS JOIN UNNEST(ARRAY[
        CASE WHEN (lower("eventSource") = 'bedrock.amazonaws.com' AND (lower("eventName") IN ('listfoundationmodels', 'listinferenceprofiles')) OR lower("eventSource") = 'bedrock-mantle.amazonaws.com' AND lower("eventName") = 'listmodels') AND "userIdentity.accessKeyId" ILIKE 'ASIA%' ESCAPE '\' AND NOT coalesce(lower("sessionCredentialFromConsole") = 'true', false) THEN 'aws_cloudtrail_bedrock_catalogue_temporary_credentials' END,
        CASE WHEN (lower("eventSource") = 'bedrock.amazonaws.com' AND (lower("eventName") IN ('converse', 'conversestream', 'createmodelinvocationjob', 'invokeagent', 'invokeflow', 'invokeinlineagent', 'invokemodel', 'invokemodelwithbidirectionalstream', 'invokemodelwithresponsestream', 'rerank', 'retrieveandgenerate', 'retrieveandgeneratestream', 'startasyncinvoke')) OR (lower("eventSource") IN ('aws-external-anthropic.amazonaws.com', 'bedrock-mantle.amazonaws.com')) AND lower("eventName") = 'createinference') AND "userIdentity.accessKeyId" ILIKE 'ASIA%' ESCAPE '\' AND NOT coalesce(lower("userIdentity.type") IN ('iamuser', 'root') OR "additionalEventData.callWithBearerToken" = 'true' OR "requestParameters.callWithBearerToken" = 'true' OR lower("eventType") = 'awsserviceevent', false) THEN 'aws_cloudtrail_bedrock_invocation_temporary_credentials' END
    ]) AS tagged("rule")
    WHERE "rule" IS NOT NULL
),
present AS (
    SELECT * FROM matched WHERE "userIdentity.arn" <> ''
),
counted AS (
    SELECT *, max(CASE WHEN "rule" = 'aws_cloudtrail_bedrock_catalogue_temporary_credentials' THEN "eventTime" END) OVER (
        PARTITION BY "userIdentity.arn" ORDER BY "eventTime"
    ) AS began_1
    FROM present
),
crossed AS (
    SELECT *, 2 AS value_count FROM counted WHERE "rule" = 'aws_cloudtrail_bedrock_invocation_temporary_credentials' AND began_1 >= "eventTime" - INTERVAL 3600 SECONDS
),
opened AS (
    SELECT "userIdentity.arn", "eventTime", value_count,
        "eventTime" - INTERVAL 3600 SECONDS > lag("eventTime") OVER (
            PARTITION BY "userIdentity.arn" ORDER BY "eventTime"
        ) AS opens
    FROM crossed
), numbered AS (
    SELECT *, count(*) FILTER (opens) OVER (
        PARTITION BY "userIdentity.arn" ORDER BY "eventTime" RANGE UNBOUNDED PRECEDING
    ) AS alert_number
    FROM opened
), alerts AS (
    SELECT "userIdentity.arn", max(value_count) AS most_values,
        min("eventTime") - INTERVAL 3600 SECONDS AS window_start, max("eventTime") AS window_end
    FROM numbered GROUP BY "userIdentity.arn", alert_number
), behind AS (
    SELECT *,
        concat("awsRegion", ' ', coalesce(nullif("errorCode", ''), 'success'), ': ', count(DISTINCT "eventID") OVER same, ' (',
            strftime(min("eventTime") OVER same, '%Y-%m-%dT%H:%M:%SZ'), ' to ',
            strftime(max("eventTime") OVER same, '%Y-%m-%dT%H:%M:%SZ'), ')') AS outcomes
    FROM alerts JOIN counted USING ("userIdentity.arn")
    WHERE "eventTime" BETWEEN window_start AND window_end
    WINDOW same AS (PARTITION BY "userIdentity.arn", window_start, "awsRegion", coalesce(nullif("errorCode", ''), 'success'))
)
SELECT "userIdentity.arn", most_values AS value_count,
    min("eventTime") AS first_seen, max("eventTime") AS last_seen, count(DISTINCT "eventID") AS event_count,
    list_sort(list_distinct(list(outcomes))) AS outcomes,
    list_sort(list_distinct(list(nullif("awsRegion", '')))) AS "awsRegion",
    list_sort(list_distinct(list(nullif("userIdentity.type", '')))) AS "userIdentity.type",
    list_sort(list_distinct(list(nullif("userIdentity.userName", '')))) AS "userIdentity.userName",
    list_sort(list_distinct(list(nullif("userIdentity.accessKeyId", '')))) AS "userIdentity.accessKeyId",
    list_sort(list_distinct(list(nullif("userIdentity.sessionContext.sessionIssuer.arn", '')))) AS "userIdentity.sessionContext.sessionIssuer.arn",
    list_sort(list_distinct(list(nullif("userIdentity.sessionContext.attributes.mfaAuthenticated", '')))) AS "userIdentity.sessionContext.attributes.mfaAuthenticated",
    list_sort(list_distinct(list(nullif("sourceIPAddress", '')))) AS "sourceIPAddress",
    list_sort(list_distinct(list(nullif("vpcEndpointId", '')))) AS "vpcEndpointId",
    list_sort(list_distinct(list(nullif("userAgent", '')))) AS "userAgent",
    list_sort(list_distinct(list(nullif("eventSource", '')))) AS "eventSource",
    list_sort(list_distinct(list(nullif("eventName", '')))) AS "eventName",
    list_sort(list_distinct(list(nullif("errorCode", '')))) AS "errorCode",
    list_sort(list_distinct(list(nullif("recipientAccountId", '')))) AS "recipientAccountId",
    list_sort(list_distinct(list(nullif("requestParameters.modelId", '')))) AS "requestParameters.modelId",
    list_sort(list_distinct(list(nullif("resources.ARN", '')))) AS "resources.ARN",
    list_sort(list_distinct(list(nullif("additionalEventData.callWithBearerToken", '')))) AS "additionalEventData.callWithBearerToken",
    list_sort(list_distinct(list(nullif("additionalEventData.inferenceRegion", '')))) AS "additionalEventData.inferenceRegion",
    list_sort(list_distinct(list(nullif("additionalEventData.inputTokens", '')))) AS "additionalEventData.inputTokens",
    list_sort(list_distinct(list(nullif("additionalEventData.outputTokens", '')))) AS "additionalEventData.outputTokens"
FROM behind
GROUP BY "userIdentity.arn", most_values, window_start
ORDER BY first_seen, "userIdentity.arn";
